// Package hazards owns the list of remedies that end in an outage when they are
// made as a benchmark words them, what is done here instead, and which test shows
// it: every row names at least one, which has to exist. docs/hazards.md is written
// from it. What is done about each check is package fix's, in docs/checks.md.
package hazards
