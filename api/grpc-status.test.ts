// What the end of a call means to the rest of the program.
import t from 'tap'
import { guessStatus, readStatus, toFault } from './grpc-status.ts'

for (const [name, code, message, expected] of [
  ['no connection is a runtime that is away', 14, 'Connection dropped', { code: 'runtime-away', retry: 'backoff' }],
  ['a deadline that passed is a timeout', 4, 'Deadline exceeded', { code: 'runtime-timeout', retry: 'backoff' }],
  ['not found is not worth trying again', 5, 'no such container', { code: 'not-found', retry: 'never' }],
  ['already there is not worth trying again', 6, 'exists', { code: 'already-exists', retry: 'never' }],
  ['an unknown method is not supported', 12, 'unknown method', { code: 'unsupported', retry: 'never' }],
  [
    'anything else is refused, in the words of the runtime',
    2,
    'runc create failed',
    { code: 'runtime-refused', retry: 'backoff', message: 'runc create failed' },
  ],
  ["the CRI's own name of an error is kept as the reason", 2, 'RegistryUnavailable: no route', { reason: 'RegistryUnavailable' }],
  ['a failure without a word is told by its number', 9, '', { message: 'the runtime answered gRPC status 9' }],
] as const) {
  t.test(name, async t => t.match(toFault({ code, message }), expected))
}

for (const [name, headers, expected] of [
  ['a status without message', { 'grpc-status': '5' }, { code: 5, message: '' }],
  ['a message as it is', { 'grpc-status': '2', 'grpc-message': 'a & b' }, { code: 2, message: 'a & b' }],
  ['escaped bytes are UTF-8', { 'grpc-status': '2', 'grpc-message': 'na%C3%AFve 100%25%0A' }, { message: 'naïve 100%\n' }],
  ['what is no escape stays', { 'grpc-status': '2', 'grpc-message': '100% %zz %4' }, { message: '100% %zz %4' }],
  ['bytes that nobody escaped are UTF-8 too', { 'grpc-status': '2', 'grpc-message': 'na\xc3\xafve' }, { message: 'naïve' }],
  ['a status that is no number is an unknown failure', { 'grpc-status': 'fine' }, { code: 2 }],
  ['no status', { 'content-type': 'text/html' }, undefined],
] as const) {
  t.test(`trailers: ${name}`, async t => t.match(readStatus(headers), expected))
}

for (const [name, http, rst, expected] of [
  ['a proxy that finds nobody behind it is a runtime that is away', 503, 0, 'runtime-away'],
  ['a server without such a path does not support it', 404, 0, 'unsupported'],
  ['a server that forbids it refuses', 403, 0, 'runtime-refused'],
  ['any other HTTP status is a refusal', 500, 0, 'runtime-refused'],
  ['an end without status is a refusal', 200, 0, 'runtime-refused'],
  ['a stream that was not begun is a runtime that is away', undefined, 7, 'runtime-away'],
  ['a stream that broke is a refusal', 200, 2, 'runtime-refused'],
  ['a connection that broke is a runtime that is away', 200, undefined, 'runtime-away'],
] as const) {
  t.test(`no status: ${name}`, async t => t.match(toFault(guessStatus(http, rst)), { code: expected, message: /\w/ }))
}
