package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubespray-hardener/kubespray-hardener/images"
	"github.com/kubespray-hardener/kubespray-hardener/images/source"
)

// buildFlags are what every command shares: what is built, and how the result is
// told.
type buildFlags struct {
	source    string
	release   string
	platforms []string
	output    string
}

var outputs = []string{"text", "json", "digest"}

func (f *buildFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.source, "source", ".", "a folder in the checkout to build")
	flags.StringVar(&f.release, "release", "", "version of the program (default: git describe)")
	flags.StringSliceVar(&f.platforms, "platform", images.Platforms(), "platforms of the image")
	flags.StringVarP(&f.output, "output", "o", "text", "output format: "+strings.Join(outputs, ", "))
	words := func(all []string) cobra.CompletionFunc {
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return all, cobra.ShellCompDirectiveNoFileComp
		}
	}
	c.RegisterFlagCompletionFunc("output", words(outputs))
	c.RegisterFlagCompletionFunc("platform", words(images.Platforms()))
	c.MarkFlagDirname("source")
}

func (f *buildFlags) validate() error {
	if !slices.Contains(outputs, f.output) {
		return usage("", "--output %q: must be one of %s", f.output, strings.Join(outputs, ", "))
	}
	if len(f.platforms) == 0 {
		return usage("", "--platform: no platform")
	}
	for n, p := range f.platforms {
		if !slices.Contains(images.Platforms(), p) {
			return usage("", "--platform %q: must be of %s", p, strings.Join(images.Platforms(), ", "))
		}
		if slices.Contains(f.platforms[:n], p) {
			return usage("", "--platform %q: given twice", p)
		}
	}
	if strings.ContainsFunc(f.release, func(r rune) bool { return r <= ' ' || r == '\'' || r == '"' }) {
		return usage("", "--release %q: has spaces or quotes", f.release)
	}
	return nil
}

// build makes the image; version is the program's.
func (f *buildFlags) build(ctx context.Context, say func(string)) (image *images.Image, version string, err error) {
	checkout, err := source.Open(f.source)
	if err != nil {
		return nil, "", usage("--source names a folder in a checkout", "%w", err)
	}
	state, err := checkout.State(ctx)
	if err != nil {
		return nil, "", err
	}
	if f.release != "" {
		state.Version = f.release
	}
	content := images.Content{Version: state.Version, Revision: state.Revision, Created: state.Created}
	if content.License, content.Notice, err = checkout.Licence(); err != nil {
		return nil, "", err
	}
	var data images.Module
	if data.Path, data.Version, data.Sum, err = checkout.Profiles(ctx); err != nil {
		return nil, "", err
	}
	content.Embedded = []images.Module{data}
	for _, platform := range f.platforms {
		say("compiling " + state.Version + " for " + platform)
		binary, err := checkout.Program(ctx, platform, state.Version)
		if err != nil {
			return nil, "", err
		}
		content.Programs = append(content.Programs, images.Program{Platform: platform, Binary: binary})
	}
	say("compressing")
	image, err = images.New(content)
	return image, state.Version, err
}

func newBuildCommand(s streams) *cobra.Command {
	var f buildFlags
	c := &cobra.Command{
		Use:   "build",
		Short: "Build the image and tell its digest, and keep nothing",
		Long: `build makes the image in memory and prints its digest and what each platform
comes to. The digest is the one that save and push would give.`,
		Args: arguments(),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.validate(); err != nil {
				return err
			}
			image, version, err := f.build(c.Context(), s.say)
			if err != nil {
				return err
			}
			return f.tell(s, image, result{Version: version})
		},
	}
	f.add(c)
	return c
}

// say tells how far it is.
func (s streams) say(text string) { fmt.Fprintln(s.err, "hardener-image: "+text) }
