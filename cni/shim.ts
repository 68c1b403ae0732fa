// The executable that the runtime starts, as text: passes the call to the daemon's socket and prints the answer. Measured: a bare
// Node process costs 28 ms, sh with curl 9 ms, perl without any module 2 ms; perl-base is essential on Debian, so perl comes first.
// Rules: the standalone program runs only when nobody answered the connect; once something was sent, a broken connection is
// error 11 (try again later), never a second ADD beside the first. Called as `loopback`, which happens for every pod, the perl one brings
// the interface up by itself and says so: the daemon starts no program for that.
import { Fault } from '../host/fault.ts'
import { loopbackUp } from './spec.ts'

export interface ShimPaths {
  /** The daemon's unix socket. */
  readonly socket: string
  /** The standalone program and its arguments. */
  readonly standalone: readonly string[]
}

/** Stands in every shim, so that an installer knows its own file from another's. */
export const shimMarker = 'nodelet network plugin'

/** Longer than any call takes, shorter than the runtimes wait: a daemon that hangs is an error with a name. */
const patienceSeconds = 110

// Both languages take a single-quoted string as it stands when it holds neither quote nor backslash.
const quoted = (text: string): string => {
  if (/['\\\n]/.test(text))
    throw new Fault('bad-config', `${JSON.stringify(text)} cannot stand in the plugin's executable`, { retry: 'never' })
  return `'${text}'`
}

// syscalls(2), by architecture; what is not listed leaves loopback to the daemon.
const setns: Readonly<Partial<Record<string, number>>> = { x64: 308, arm64: 268 }

// setns(2) with CLONE_NEWNET, then netdevice(7): SIOCGIFFLAGS, IFF_UP, SIOCSIFFLAGS.
const perlLoopback = (syscall: number | undefined): string =>
  syscall === undefined
    ? ''
    : `
sub loopback_is_up {
  open(my $netns, '<', $ENV{CNI_NETNS}) or return 0;
  syscall(${syscall}, fileno($netns), 0x40000000) == 0 or return 0;
  socket(my $control, 2, 2, 0) or return 0;
  my $request = pack('a16 s x22', 'lo', 0);
  ioctl($control, 0x8913, $request) or return 0;
  my (undef, $flags) = unpack('a16 s', $request);
  return defined ioctl($control, 0x8914, pack('a16 s x22', 'lo', $flags | 1));
}
$ENV{${loopbackUp}} = 1 if $0 =~ m{(?:^|/)loopback$} && $ENV{CNI_COMMAND} eq 'ADD' && loopback_is_up();
`

/** For hosts with perl; no module is loaded, which is what makes it fast. @param arch as Node names it */
export const perlShim = (perl: string, { socket, standalone }: ShimPaths, arch: string = process.arch): string => `#!${perl}
# ${shimMarker}: asks the daemon, or runs by itself when no daemon answers. Written by the daemon; changes are overwritten.
my $path = ${quoted(socket)};
my @standalone = (${standalone.map(quoted).join(', ')});
my $config = '';
sub fail {
  my ($code, $reason) = @_;
  my $version = $config =~ /"cniVersion"\\s*:\\s*"([0-9.]+)"/ ? $1 : '1.0.0';
  print qq({"cniVersion":"$version","code":$code,"msg":"nodelet: $reason"}\\n);
  exit 1;
}
# AF_UNIX and SOCK_STREAM are 1 and 1, sockaddr_un is the family and the path.
socket(my $daemon, 1, 1, 0) or fail(5, "no socket: $!");
if (!connect($daemon, pack('S a*', 1, "$path\\0"))) {
  exec { $standalone[0] } @standalone or fail(11, "no daemon answers and the plugin cannot run by itself: $!");
}
$SIG{PIPE} = 'IGNORE';
$SIG{ALRM} = sub { fail(11, 'the daemon did not answer in time') };
alarm ${patienceSeconds};${perlLoopback(setns[arch])}
{ local $/; $config = <STDIN>; $config = '' unless defined $config; }
my $body = join('', map { "$_=$ENV{$_}\\0" } grep { /^CNI_/ } keys %ENV) . "\\0$config";
my $request = "POST /cni HTTP/1.0\\r\\nHost: nodelet\\r\\nContent-Length: " . length($body) . "\\r\\n\\r\\n$body";
while (length $request) {
  my $sent = syswrite($daemon, $request);
  defined $sent or fail(11, 'the connection to the daemon broke');
  substr($request, 0, $sent) = '';
}
my $reply = '';
while (1) {
  my $got = sysread($daemon, $reply, 65536, length $reply);
  defined $got or fail(11, 'the connection to the daemon broke');
  last unless $got;
}
my ($head, $answer) = split /\\r\\n\\r\\n/, $reply, 2;
my $length = defined $head && $head =~ /^content-length: *(\\d+)/im ? $1 : -1;
$head =~ m{^HTTP/1\\.\\d 200 } && length($answer) == $length && $answer =~ s/^(\\d+)\\n// or fail(11, 'the daemon gave no whole answer');
print $answer;
exit $1;
`

/** For hosts with curl and no perl. Command substitution drops NULs and trailing newlines, neither of which JSON has. */
export const curlShim = (curl: string, { socket, standalone }: ShimPaths): string => `#!/bin/sh
# ${shimMarker}: asks the daemon, or runs by itself when no daemon answers. Written by the daemon; changes are overwritten.
config=$(cat)
fail() {
  printf '{"cniVersion":"1.0.0","code":11,"msg":"nodelet: %s"}\\n' "$1"
  exit 1
}
reply=$({
  for name in COMMAND CONTAINERID NETNS IFNAME ARGS PATH; do
    eval "[ -z \\"\\\${CNI_$name+set}\\" ] || printf 'CNI_%s=%s\\\\0' $name \\"\\$CNI_$name\\""
  done
  printf '\\0%s' "$config"
} | ${quoted(curl)} --silent --fail --max-time ${patienceSeconds} --unix-socket ${quoted(socket)} --header 'Content-Type: application/octet-stream' --data-binary @- http://nodelet/cni)
case $? in
  0) ;;
  7) printf '%s' "$config" | ${standalone.map(quoted).join(' ')}; exit $? ;;
  *) fail 'the connection to the daemon broke' ;;
esac
code=\${reply%%"
"*}
case $code in
  [0-9]*) printf '%s' "\${reply#*"
"}"; exit "$code" ;;
  *) fail 'the daemon gave no whole answer' ;;
esac
`

/** For hosts with neither: always the standalone program, which waits for the daemon's lock. */
export const plainShim = ({ standalone }: ShimPaths): string => `#!/bin/sh
# ${shimMarker}: runs by itself. Written by the daemon; changes are overwritten.
exec ${standalone.map(quoted).join(' ')}
`
