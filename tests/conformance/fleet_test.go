// Package conformance holds Holdfast against containerd's own idea of a content
// store: containerd's test suite, and tests of what that leaves out, all through
// containerd's client. `python -m tests.conformance` starts frontends and runs it.
package conformance

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/containerd/v2/defaults"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

const (
	mib = 1 << 20
	// How long one test's calls may take in all; a test that hangs says where.
	patience = 90 * time.Second
)

var (
	addresses = flag.String("frontends", "", "`host:port` of each frontend of one store, separated by commas")
	header    = flag.String("tenant-header", "x-holdfast-tenant", "header that names the tenant")

	frontends []*grpc.ClientConn
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := dial(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}

func dial() error {
	listed := strings.Split(*addresses, ",")
	if len(listed) < 2 {
		return fmt.Errorf("-frontends=%q: give at least two, as in 127.0.0.1:9000,127.0.0.1:9001", *addresses)
	}
	for _, address := range listed {
		conn, err := grpc.NewClient(address,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(
				grpc.MaxCallRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
				grpc.MaxCallSendMsgSize(defaults.DefaultMaxSendMsgSize)))
		if err != nil {
			return fmt.Errorf("frontend %q: %w", address, err)
		}
		frontends = append(frontends, conn)
	}
	return nil
}

// tenant is a connection of one tenant: each of its calls goes to the next of its
// frontends, as behind a load balancer.
type tenant struct {
	name  string
	conns []*grpc.ClientConn
	calls atomic.Uint64
}

// newTenant has a name that nobody else uses, and talks to all frontends in turn.
func newTenant() *tenant {
	var id [8]byte
	_, _ = rand.Read(id[:]) // it never fails
	return &tenant{name: "go-" + hex.EncodeToString(id[:]), conns: frontends}
}

// at is the same tenant at one frontend.
func (t *tenant) at(frontend int) *tenant {
	return &tenant{name: t.name, conns: frontends[frontend : frontend+1]}
}

func (t *tenant) store() content.Store { return proxy.NewContentStore(t) }

func (t *tenant) api() contentapi.ContentClient { return contentapi.NewContentClient(t) }

func (t *tenant) next(ctx context.Context) (context.Context, *grpc.ClientConn) {
	turn := t.calls.Add(1) % uint64(len(t.conns))
	return metadata.AppendToOutgoingContext(ctx, *header, t.name), t.conns[turn]
}

// Invoke and NewStream make it a grpc.ClientConnInterface.
func (t *tenant) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	ctx, conn := t.next(ctx)
	return conn.Invoke(ctx, method, args, reply, opts...)
}

func (t *tenant) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	ctx, conn := t.next(ctx)
	return conn.NewStream(ctx, desc, method, opts...)
}

// patiently is the context of one test's calls.
func patiently(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until a condition holds.
func eventually(ctx context.Context, t *testing.T, what string, holds func() bool) {
	t.Helper()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s", what, patience)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
