// Command small stands in for a program that is handed out.
package main

func main() {}
