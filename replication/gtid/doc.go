// Package gtid owns MySQL's global transaction identifiers and the arithmetic
// on sets of them, tags included (MySQL 8.3 and newer): parse, print, compare,
// unite, subtract and intersect.
//
// Every promotion, rewind and rejoin rests on these comparisons, so the
// package is pure: it has no I/O, no clock and no state, and a Set never
// changes once made. Any package may import it; it imports only the standard
// library.
//
// # Stricter than the server
//
// Everything a server prints is read. Some texts that a server merely
// tolerates are refused, because no server ever prints them and reading them
// generously would make a set silently smaller or different from what the
// writer meant:
//
//   - an interval whose end is below its start (5-3), which the server reads
//     as empty;
//   - a UUID or a tag without any interval, and entries left empty between,
//     before or after commas, which is what a cut-off text looks like;
//   - numbers with a leading zero or 0x: depending on its version a server
//     reads 010 as ten or as octal for eight;
//   - a UUID in braces.
//
// A UUID may be written without its dashes, as MySQL 9.7 accepts it in sets
// (older versions do not). [Set.String] always writes the dashes.
package gtid
