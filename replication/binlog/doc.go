// Package binlog reads as much of MySQL's binary log files as a rewind needs:
// which transactions stand in a file, where each begins, and whether crash
// recovery can take each of them back (MySQL 8.4 and 9.x; tagged GTIDs,
// compressed transactions, checksums).
//
// It never guesses: what it does not know by its format is an error or makes
// the group [KindOther], and then nobody may cut it. A file that ends inside an
// event, as a crash leaves it, is no error; one that is damaged before its end
// is.
//
// Nothing here changes a binary log; an extract is a new file.
package binlog
