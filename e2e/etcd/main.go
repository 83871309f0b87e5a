// Command etcd is etcd, as the tests run it; called as etcdctl it is etcd's client, called as etcdutl it does what is
// done to the files of an etcd that does not run. The version is in go.mod.
package main

import (
	"os"
	"path/filepath"

	"go.etcd.io/etcd/etcdctl/v3/ctlv3"
	"go.etcd.io/etcd/etcdutl/v3/etcdutl"
	"go.etcd.io/etcd/server/v3/etcdmain"

	"github.com/spf13/cobra"
)

func main() {
	switch filepath.Base(os.Args[0]) {
	case "etcdctl":
		ctlv3.MustStart()
	case "etcdutl":
		commands := &cobra.Command{Use: "etcdutl"}
		commands.PersistentFlags().StringVarP(&etcdutl.OutputFormat, "write-out", "w", "simple", "format of what is printed")
		commands.AddCommand(etcdutl.NewSnapshotCommand())
		if commands.Execute() != nil {
			os.Exit(1)
		}
	default:
		etcdmain.Main(os.Args)
	}
}
