// Peers is what Holdfast is measured against, and what measures it: containerd's own
// content server on a folder, and clients that send what containerd and a registry's
// clients send; what the backend is asked for, straight. Each command prints one line of JSON.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

var commands = map[string]func(arguments []string) (any, error){
	"content-server": contentServer,
	"write":          write,
	"read":           read,
	"unpack":         unpack,
	"info":           info,
	"registry-write": registryWrite,
	"registry-read":  registryRead,
	"s3-small":       s3Small,
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: peers content-server|write|read|unpack|info|registry-write|registry-read|s3-small [flags]")
		os.Exit(2)
	}
	result, err := commands[os.Args[1]](os.Args[2:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "peers %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
