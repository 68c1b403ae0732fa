// Builds the small images of the examples offline and prints the archives' paths, a line each.
import { busyboxImage, imageArchives, pauseImage } from '../test/support/images.ts'

for (const path of await imageArchives([pauseImage, busyboxImage])) process.stdout.write(`${path}\n`)
