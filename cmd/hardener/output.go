package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
)

// outputFlags say how and where a report is written.
type outputFlags struct {
	format  oneOf
	file    string
	verbose bool

	written *report.Report // the last one
}

func (f *outputFlags) add(c *cobra.Command) {
	f.format = oneOf{"text", []string{"text", "json"}}
	c.Flags().VarP(&f.format, "output", "o", "output format")
	c.RegisterFlagCompletionFunc("output", f.format.complete)
	c.Flags().StringVar(&f.file, "output-file", "", "write the report to this file")
	c.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "text: also list the checks that pass, and whole diffs")
}

// write writes a report where the flags say.
func (f *outputFlags) write(s streams, r report.Report) error {
	f.written = &r
	return f.deliver(s, func(w io.Writer, style report.Style) error {
		if f.format.value == "json" {
			return r.WriteJSON(w)
		}
		return r.Text(w, style)
	})
}

// deliver renders to standard output, or to --output-file once all is rendered.
func (f *outputFlags) deliver(s streams, render func(io.Writer, report.Style) error) error {
	if f.file == "" {
		return render(s.out, terminalStyle(s.out, f.verbose))
	}
	var b bytes.Buffer
	if err := render(&b, report.Style{Verbose: f.verbose}); err != nil {
		return err
	}
	if err := os.WriteFile(f.file, b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// terminalStyle has colour on a terminal only, and not with NO_COLOR
// (no-color.org).
func terminalStyle(w io.Writer, verbose bool) report.Style {
	style := report.Style{Verbose: verbose}
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return style
	}
	if width, _, err := term.GetSize(int(file.Fd())); err == nil {
		style.Width = width
	}
	style.Colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return style
}
