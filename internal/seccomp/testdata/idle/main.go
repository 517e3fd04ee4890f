// Command idle links package seccomp, with everything that can compile a filter, and compiles none.
package main

import (
	"fmt"
	"os"

	"gcr/internal/seccomp"
)

func main() {
	nr, _ := seccomp.Number(seccomp.ArchAMD64, "read")
	fmt.Printf("read is %d on amd64\n", nr)
	if len(os.Args) > 1 {
		f, err := seccomp.Compile(seccomp.Default(nil, os.Args[1]), seccomp.Native())
		fmt.Println(len(f.Program), err)
	}
}
