// Package stub holds the program that the keeper executes in place of a
// service's own: one static page of machine code per architecture, built from
// stub.c by the script build. The script's compiler is named beside each binary,
// and a test rebuilds and compares.
package stub
