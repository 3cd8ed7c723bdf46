package main

import (
	"context"
	"encoding/binary"
	"flag"
	"io"
	"log"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	suffix  = ".svc.cluster.local."
	seconds = 5
	// Of an answer by UDP; a longer one is cut, and asked for again by TCP.
	most = 512
)

// The names of a cluster's Services, as Kubernetes' specification of its DNS has them: IPv4 alone,
// and neither ports nor pods. CoreDNS would be a third more to build.
type names struct {
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
}

func serveNames() {
	kubeconfig := flag.String("kubeconfig", "", "how the API server is found")
	address := flag.String("address", "", "where to listen: HOST:PORT")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	fatal(err)
	client, err := kubernetes.NewForConfig(config)
	fatal(err)
	factory := informers.NewSharedInformerFactory(client, 0)
	known := names{
		factory.Core().V1().Services().Lister(),
		factory.Discovery().V1().EndpointSlices().Lister(),
	}
	factory.Start(context.Background().Done())
	factory.WaitForCacheSync(context.Background().Done())
	datagrams, err := net.ListenPacket("udp", *address)
	fatal(err)
	listener, err := net.Listen("tcp", *address)
	fatal(err)
	go known.serveTCP(listener)
	buffer := make([]byte, 4096)
	for {
		size, client, err := datagrams.ReadFrom(buffer)
		fatal(err)
		if answer := known.answer(buffer[:size], most); answer != nil {
			_, _ = datagrams.WriteTo(answer, client)
		}
	}
}

func (n names) serveTCP(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		fatal(err)
		go func() {
			defer connection.Close()
			for {
				var size uint16
				if binary.Read(connection, binary.BigEndian, &size) != nil {
					return
				}
				question := make([]byte, size)
				if _, err := io.ReadFull(connection, question); err != nil {
					return
				}
				answer := n.answer(question, 1<<16-1)
				if answer == nil || binary.Write(connection, binary.BigEndian, uint16(len(answer))) != nil {
					return
				}
				if _, err := connection.Write(answer); err != nil {
					return
				}
			}
		}()
	}
}

func (n names) answer(question []byte, room int) []byte {
	var asked dnsmessage.Message
	if asked.Unpack(question) != nil || len(asked.Questions) != 1 || asked.Response {
		return nil
	}
	about := asked.Questions[0]
	reply := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: asked.ID, Response: true, Authoritative: true, RecursionDesired: asked.RecursionDesired,
		},
		Questions: asked.Questions,
	}
	addresses, exists := n.addresses(strings.ToLower(about.Name.String()))
	if !exists {
		reply.RCode = dnsmessage.RCodeNameError
	}
	if about.Type == dnsmessage.TypeA {
		for _, address := range addresses {
			header := dnsmessage.ResourceHeader{Name: about.Name, Class: about.Class, TTL: seconds}
			body := &dnsmessage.AResource{A: address.As4()}
			reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: header, Body: body})
		}
	}
	packed, err := reply.Pack()
	if err == nil && len(packed) > room {
		reply.Answers, reply.Truncated = nil, true
		packed, err = reply.Pack()
	}
	fatal(err)
	return packed
}

// The addresses of a name, and whether there is such a name.
func (n names) addresses(name string) ([]netip.Addr, bool) {
	within, found := strings.CutSuffix(name, suffix)
	parts := strings.Split(within, ".")
	if !found || len(parts) < 2 || len(parts) > 3 {
		return nil, false
	}
	host, space := parts[:len(parts)-2], parts[len(parts)-1]
	service, err := n.services.Services(space).Get(parts[len(parts)-2])
	if err != nil {
		return nil, false
	}
	if service.Spec.ClusterIP != core.ClusterIPNone {
		address, err := netip.ParseAddr(service.Spec.ClusterIP)
		if err != nil || !address.Is4() || len(host) > 0 {
			return nil, false
		}
		return []netip.Addr{address}, true
	}
	selector := labels.SelectorFromSet(labels.Set{discovery.LabelServiceName: service.Name})
	slices, err := n.slices.EndpointSlices(space).List(selector)
	fatal(err)
	var addresses []netip.Addr
	for _, slice := range slices {
		for _, endpoint := range slice.Endpoints {
			ready := endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready
			named := len(host) == 0 || endpoint.Hostname != nil && *endpoint.Hostname == host[0]
			if address, err := netip.ParseAddr(endpoint.Addresses[0]); err == nil && ready && named {
				addresses = append(addresses, address)
			}
		}
	}
	return addresses, len(addresses) > 0 || len(host) == 0
}

func fatal(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
