// Command inmate is every process of a cell: the first, which builds it,
// and those that stand in for the processes of a node.
package main

import (
	"fmt"
	"os"

	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/cell"
)

func main() {
	if len(os.Args) != 1 || os.Args[0] != cell.InitName {
		cell.Wait()
		return
	}
	if err := cell.Init(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
