//go:build !amd64

package cell

// legacyEffect is effect for the older calls, which newer architectures lack.
func legacyEffect(int, int, [6]uint64) string { return "" }
