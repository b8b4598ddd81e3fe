package main

import (
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/cobra"

	"github.com/kubespray-hardener/kubespray-hardener/images"
)

func newPushCommand(s streams) *cobra.Command {
	var f buildFlags
	var insecure bool
	c := &cobra.Command{
		Use:   "push REF",
		Short: "Push the image to a registry",
		Long: `push uploads the image to REF, REGISTRY/REPOSITORY[:TAG], and its bill of
materials (CycloneDX) as an artifact that refers to it. The tag is set last;
without one it is the version. What the registry has already is not sent again.

Credentials are those of docker login or podman login, and of the credential
helpers that they name. REF is only reached with TLS; a registry with a CA of
its own needs it in the system's store or in $SSL_CERT_FILE.`,
		Args: arguments("REF"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.validate(); err != nil {
				return err
			}
			ref := args[0]
			checked := ref
			if !images.HasTag(ref) {
				checked = withTag(ref, "", "dev")
			}
			if _, err := images.ParseName(checked); err != nil {
				return err
			}
			image, version, err := f.build(c.Context(), s.say)
			if err != nil {
				return err
			}
			if !images.HasTag(ref) {
				ref = withTag(ref, "", version)
			}
			s.say("pushing " + ref)
			pinned, err := image.Push(c.Context(), ref, images.Access{Credentials: authn.DefaultKeychain, Insecure: insecure})
			if err != nil {
				return err
			}
			return f.tell(s, image, result{Version: version, Name: ref, Pinned: pinned})
		},
	}
	f.add(c)
	c.Flags().BoolVar(&insecure, "insecure", false, "allow a registry without TLS (one on this machine needs no leave)")
	return c
}
