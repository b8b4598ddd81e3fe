package main

import (
	"fmt"
	"io"
	"os"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/kubespray-hardener/kubespray-hardener/images"
)

func newSaveCommand(s streams) *cobra.Command {
	var f buildFlags
	var name, tag string
	c := &cobra.Command{
		Use:   "save FILE",
		Short: "Save the image as an archive, for nodes without a registry",
		Long: `save writes the image to FILE as an OCI layout, and its bill of materials
(CycloneDX) to FILE.cdx.json. On a node, the archive is imported with

  ctr -n k8s.io images import FILE

and the image is then there under its name and tag, and under its name and
digest. With a single --platform the archive also suits docker load.`,
		Args: arguments("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.validate(); err != nil {
				return err
			}
			if err := checkName(name, tag); err != nil {
				return err
			}
			image, version, err := f.build(c.Context(), s.say)
			if err != nil {
				return err
			}
			r := result{Version: version, Name: withTag(name, tag, version), Archive: args[0], SBOM: args[0] + ".cdx.json"}
			if r.Bytes, err = replace(r.Archive, func(w io.Writer) error { return image.Save(w, r.Name) }); err != nil {
				return err
			}
			if _, err := replace(r.SBOM, func(w io.Writer) error { _, err := w.Write(image.SBOM()); return err }); err != nil {
				return err
			}
			return f.tell(s, image, r)
		},
	}
	f.add(c)
	c.Flags().StringVar(&name, "name", images.DefaultName, "repository that the image is named after")
	c.Flags().StringVar(&tag, "tag", "", "tag of the image (default: the version)")
	return c
}

// checkName wants a repository and a tag that make a name together, before
// minutes are spent on compiling.
func checkName(name, tag string) error {
	if images.HasTag(name) {
		return usage("--tag names the tag", "--name %q: has a tag", name)
	}
	_, err := images.ParseName(withTag(name, tag, "dev"))
	return err
}

func withTag(name, tag, version string) string {
	if tag == "" {
		tag = images.Tag(version)
	}
	return name + ":" + tag
}

// replace writes a file as a whole or not at all, and returns its size in bytes.
func replace(path string, write func(io.Writer) error) (int64, error) {
	file, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644), renameio.WithExistingPermissions())
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	defer file.Cleanup()
	if err := write(file); err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	return info.Size(), nil
}
