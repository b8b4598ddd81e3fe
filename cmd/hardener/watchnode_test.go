package main

import (
	"testing"
	"time"
)

// Who was seen at work when a change began counts for a moment, though gone since.
func TestGlimpse(t *testing.T) {
	n := &watchedNode{}
	if who := n.Installers(nil); who != "" {
		t.Errorf("%q at work on a node of nobody", who)
	}
	n.glimpse.who, n.glimpse.at = "ansible", time.Now()
	if who := n.Installers(nil); who != "ansible" {
		t.Errorf("%q, want ansible", who)
	}
	n.glimpse.at = time.Now().Add(-glimpseLasts)
	if who := n.Installers(nil); who != "" {
		t.Errorf("%q after %s", who, glimpseLasts)
	}
}
