package adjudicate

import (
	"strconv"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
)

// cniFiles: without a configuration there is nothing to judge; all else is
// settled by the check that View.Check puts in place.
func cniFiles(x *inquiry) (Verdict, bool) {
	dir := x.cniDir()
	if !x.isDir(dir) && x.truth.State != check.Pass {
		return x.notApplicable("this node has no CNI configuration", dir+": does not exist")
	}
	return undecided()
}

// wantedMode is the mode in a check's text, "permissions are set to 644", for
// checks without test items.
func wantedMode(text string) uint32 {
	_, rest, ok := strings.Cut(text, "permissions are set to ")
	if !ok {
		return 0
	}
	mode, err := strconv.ParseUint(strings.Fields(rest + " 0")[0], 8, 32)
	if err != nil {
		return 0
	}
	return uint32(mode)
}
