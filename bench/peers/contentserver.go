package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/services/content/contentserver"
	"google.golang.org/grpc"
)

// contentServer serves containerd's content API from containerd's local store until SIGTERM.
func contentServer(arguments []string) (any, error) {
	flags := flag.NewFlagSet("content-server", flag.ExitOnError)
	address := flags.String("listen", "127.0.0.1:0", "host:port")
	root := flags.String("root", "", "folder of the store")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	// With labels, as the daemon has it: in files, so that no database is needed.
	store, err := local.NewStore(*root)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return nil, err
	}
	server := grpc.NewServer(
		grpc.MaxRecvMsgSize(messageLimit), grpc.MaxSendMsgSize(messageLimit),
	)
	contentapi.RegisterContentServer(server, contentserver.New(store))
	fmt.Println(listener.Addr())
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-stop
		server.Stop()
	}()
	return map[string]string{"served": listener.Addr().String()}, server.Serve(listener)
}
