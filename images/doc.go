// Package images makes the container image of the program without a container
// engine: compiled programs in, an OCI image index out, as an archive or in a
// registry, with a software bill of materials beside it.
//
// It owns what the image declares and what is in it, and that the same content
// gives the same bytes: no clock, no machine and no file's time gets in. It
// leaves to others how a program is compiled and what is known about the
// checkout (package source), where files are written, and what users are told.
package images
