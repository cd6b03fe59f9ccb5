// Command codexrun-node is a whole single-node Kubernetes in one static binary: one compile, one
// download of modules, one file in the cache. It plays the part named by its first argument, or by
// the name it was called with, so that a symlink `kubectl` to it is kubectl.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

var parts = map[string]func(){
	"certificates":            certificates,
	"etcd":                    etcd,
	"kube-apiserver":          kubeAPIServer,
	"kube-controller-manager": kubeControllerManager,
	"kube-scheduler":          kubeScheduler,
	"kube-proxy":              kubeProxy,
	"kubelet":                 kubelet,
	"kubectl":                 kubectl,
	"helm":                    helm,
	"coredns":                 coreDNS,
}

func main() {
	name := filepath.Base(os.Args[0])
	part, ok := parts[name]
	if !ok && len(os.Args) > 1 {
		name = os.Args[1]
		part, ok = parts[name]
		// Each part reads os.Args itself and must see itself as the program.
		os.Args = append([]string{name}, os.Args[2:]...)
	}
	if !ok {
		names := make([]string, 0, len(parts))
		for name := range parts {
			names = append(names, name)
		}
		sort.Strings(names)
		fmt.Fprintf(os.Stderr, "usage: codexrun-node PART [ARGUMENTS]\nparts: %s\n", strings.Join(names, ", "))
		os.Exit(2)
	}
	part()
}
