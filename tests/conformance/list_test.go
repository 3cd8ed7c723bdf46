package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
)

// TestListWhileDeleting is containerd's collection: each blob is deleted while the List
// that names it is open, at all frontends in turn.
func TestListWhileDeleting(t *testing.T) {
	t.Parallel()
	const count = 130 // more than a message has
	ctx, tenant, other := patiently(t), newTenant(), newTenant()
	committed := tenant.commitMany(ctx, t, count)
	kept := other.commit(ctx, t, "ref", bytesOf(10), "", nil)
	seen := map[digest.Digest]int{}
	err := tenant.store().Walk(ctx, func(info content.Info) error {
		seen[info.Digest]++
		return tenant.store().Delete(ctx, info.Digest)
	})
	if err != nil {
		t.Fatal(err)
	}
	for dgst := range committed {
		if seen[dgst] != 1 {
			t.Errorf("%s was listed %d times", dgst, seen[dgst])
		}
	}
	if len(seen) != count {
		t.Errorf("%d blobs were listed, of %d", len(seen), count)
	}
	for frontend := range frontends {
		if left := tenant.at(frontend).listed(ctx, t); len(left) != 0 {
			t.Errorf("frontend %d still lists %d", frontend, len(left))
		}
	}
	if left := other.listed(ctx, t); len(left) != 1 || left[0] != kept {
		t.Errorf("the other tenant has %v", left)
	}
}

// TestListLeft has a client that leaves in the middle: the next one gets all.
func TestListLeft(t *testing.T) {
	t.Parallel()
	ctx, tenant := patiently(t), newTenant()
	tenant.commitMany(ctx, t, 3)
	enough := errors.New("enough")
	leaving, leave := context.WithCancel(ctx)
	if err := tenant.store().Walk(leaving, func(content.Info) error { return enough }); !errors.Is(err, enough) {
		t.Fatal(err)
	}
	leave()
	if found := tenant.listed(ctx, t); len(found) != 3 {
		t.Errorf("listed %v", found)
	}
}

// commitMany commits small blobs, several at a time.
func (t *tenant) commitMany(ctx context.Context, tb testing.TB, count int) map[digest.Digest]bool {
	tb.Helper()
	const together = 8
	committed, done := map[digest.Digest]bool{}, make(chan digest.Digest, count)
	failed := make(chan error, together)
	for worker := range together {
		go func() {
			var err error
			for i := worker; i < count && err == nil; i += together {
				data := bytesOf(100)
				dgst := digest.FromBytes(data)
				var s contentapi.Content_WriteClient
				if s, err = t.api().Write(ctx); err == nil {
					_, err = (&stream{s, fmt.Sprintf("ref-%d", i)}).send(&message{Action: commit, Data: data})
				}
				done <- dgst
			}
			failed <- err
		}()
	}
	for range together {
		if err := <-failed; err != nil {
			tb.Fatal(err)
		}
	}
	close(done)
	for dgst := range done {
		committed[dgst] = true
	}
	return committed
}

// listed is what List has of a tenant.
func (t *tenant) listed(ctx context.Context, tb testing.TB, filters ...string) []digest.Digest {
	tb.Helper()
	var found []digest.Digest
	err := t.store().Walk(ctx, func(info content.Info) error {
		found = append(found, info.Digest)
		return nil
	}, filters...)
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

// TestReadLeft has clients that leave in the middle of a Read: the next one gets all.
func TestReadLeft(t *testing.T) {
	t.Parallel()
	ctx, tenant, data := patiently(t), newTenant(), bytesOf(20*mib)
	dgst := tenant.commit(ctx, t, "ref", data, "", nil)
	for pieces := range 3 {
		leaving, leave := context.WithCancel(ctx)
		answers, err := tenant.api().Read(leaving, &contentapi.ReadContentRequest{Digest: dgst.String()})
		for range pieces {
			if err == nil {
				_, err = answers.Recv()
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		leave()
		for err == nil {
			_, err = answers.Recv()
		}
		if !errors.Is(err, io.EOF) {
			refused(t, err, codes.Canceled)
		}
	}
	tenant.held(ctx, t, dgst, data)
}
