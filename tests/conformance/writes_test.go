package conformance

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
)

// TestResume writes parts of a blob at alternating frontends; each goes on where the
// other one has stopped, and the blob is one.
func TestResume(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ size, step int }{
		"small":  {1000, 300},
		"pieces": {3 * mib, mib},
		"parts":  {20*mib + 5, 7*mib + 1}, // never where a part of the store ends
	} {
		for _, total := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s-total-%t", name, total), func(t *testing.T) {
				t.Parallel()
				ctx, tenant, data := patiently(t), newTenant(), bytesOf(tc.size)
				for sent, turn := 0, 0; sent < tc.size; turn++ {
					s, open := tenant.reopen(ctx, t, turn%2, "ref", sent)
					if total {
						s.must(t, &message{Action: stat, Total: int64(tc.size)})
					}
					if turn > 0 && digest.Digest(open.Digest) != digest.FromBytes(data[:sent]) {
						t.Fatalf("digest %s of the %d bytes so far", open.Digest, sent)
					}
					end := min(sent+tc.step, tc.size)
					reply := s.must(t, &message{Action: write, Offset: int64(sent), Data: data[sent:end]})
					if reply.Offset != int64(end) {
						t.Fatalf("offset %d after %d bytes", reply.Offset, end)
					}
					s.leave(t)
					sent = end
				}
				s, _ := tenant.reopen(ctx, t, 1, "ref", tc.size)
				reply := s.must(t, &message{Action: commit})
				s.ended(t)
				if digest.Digest(reply.Digest) != digest.FromBytes(data) {
					t.Fatalf("committed as %s", reply.Digest)
				}
				tenant.at(0).held(ctx, t, digest.FromBytes(data), data)
			})
		}
	}
}

// reopen opens a ref at a frontend, which must find so many bytes there.
func (t *tenant) reopen(ctx context.Context, tb testing.TB, frontend int, ref string, there int) (*stream, *contentapi.WriteContentResponse) {
	tb.Helper()
	s := t.at(frontend).write(ctx, tb, ref)
	reply := s.must(tb, &message{Action: stat})
	if reply.Offset != int64(there) {
		tb.Fatalf("frontend %d finds %d bytes of %q, not %d", frontend, reply.Offset, ref, there)
	}
	return s, reply
}

// TestVanish has a client that goes away without a word: what it has sent is there
// at the other frontend.
func TestVanish(t *testing.T) {
	t.Parallel()
	ctx, tenant, data := patiently(t), newTenant(), bytesOf(9*mib)
	gone, vanish := context.WithCancel(ctx)
	s := tenant.at(0).write(gone, t, "ref")
	started := s.must(t, &message{Action: write, Data: data[:8*mib]}).StartedAt
	vanish()
	eventually(ctx, t, "the ref at the other frontend", func() bool {
		next := tenant.at(1).write(ctx, t, "ref")
		reply, err := next.send(&message{Action: stat})
		if err != nil {
			refused(t, err, codes.Unavailable)
			return false
		}
		if reply.Offset != 8*mib || !reply.StartedAt.AsTime().Equal(started.AsTime()) {
			t.Fatalf("found %d bytes, started at %s", reply.Offset, reply.StartedAt.AsTime())
		}
		next.must(t, &message{Action: write, Offset: 8 * mib, Data: data[8*mib:]})
		next.must(t, &message{Action: commit})
		return true
	})
	tenant.held(ctx, t, digest.FromBytes(data), data)
}

// TestLockedRef has a ref that is being written: it is refused at once everywhere, to
// this tenant only, and how far it is can be seen everywhere.
func TestLockedRef(t *testing.T) {
	t.Parallel()
	ctx, tenant := patiently(t), newTenant()
	s := tenant.at(0).write(ctx, t, "ref")
	s.must(t, &message{Action: write, Total: 100, Data: bytesOf(40)})
	for frontend := range frontends {
		for _, action := range []contentapi.WriteAction{stat, write, commit} {
			_, err := tenant.at(frontend).write(ctx, t, "ref").send(&message{Action: action})
			if text := refused(t, err, codes.Unavailable); !strings.Contains(text, "ref") {
				t.Errorf("the text doesn't name the ref: %q", text)
			}
		}
		eventually(ctx, t, "status of an active ref", func() bool {
			return tenant.at(frontend).offset(ctx, t, "ref") == 40
		})
	}
	newTenant().write(ctx, t, "ref").must(t, &message{Action: stat})
	s.must(t, &message{Action: write, Offset: 40, Data: bytesOf(60)})
	s.leave(t)
	tenant.reopen(ctx, t, 1, "ref", 100)
}

// TestAbort drops ingests by the action, and by the RPC.
func TestAbort(t *testing.T) {
	t.Parallel()
	t.Run("action", func(t *testing.T) {
		t.Parallel()
		ctx, tenant := patiently(t), newTenant()
		s := tenant.at(0).write(ctx, t, "ref")
		s.must(t, &message{Action: write, Data: bytesOf(9 * mib)})
		s.must(t, &message{Action: abort})
		s.ended(t)
		if found := tenant.at(1).offset(ctx, t, "ref"); found != -1 {
			t.Fatalf("%d bytes are still there", found)
		}
		tenant.reopen(ctx, t, 1, "ref", 0)
	})
	t.Run("action-first", func(t *testing.T) {
		t.Parallel()
		ctx, tenant := patiently(t), newTenant()
		s := tenant.write(ctx, t, "ref")
		s.must(t, &message{Action: write, Data: bytesOf(1000)})
		s.leave(t)
		s = tenant.write(ctx, t, "ref")
		s.must(t, &message{Action: abort})
		s.ended(t)
		if found := tenant.offset(ctx, t, "ref"); found != -1 {
			t.Fatalf("%d bytes are still there", found)
		}
	})
	for frontend := range frontends {
		t.Run(fmt.Sprintf("while-written-from-frontend-%d", frontend), func(t *testing.T) {
			t.Parallel()
			ctx, tenant := patiently(t), newTenant()
			s := tenant.at(0).write(ctx, t, "ref")
			s.must(t, &message{Action: write, Data: bytesOf(1000)})
			if err := tenant.at(frontend).store().Abort(ctx, "ref"); err != nil {
				t.Fatal(err)
			}
			other, _ := tenant.reopen(ctx, t, 1-frontend, "ref", 0)
			_, err := s.send(&message{Action: write, Offset: 1000, Data: bytesOf(10)})
			refused(t, err, codes.Aborted)
			other.must(t, &message{Action: write, Data: bytesOf(7)})
			other.leave(t)
			tenant.reopen(ctx, t, 0, "ref", 7)
		})
	}
	t.Run("unknown", func(t *testing.T) {
		t.Parallel()
		ctx, tenant := patiently(t), newTenant()
		if err := tenant.store().Abort(ctx, "never-seen"); err != nil {
			t.Fatal(err) // containerd's collector ends its pass on any error
		}
	})
}

// TestOffsets has messages at other offsets than the current one.
func TestOffsets(t *testing.T) {
	t.Parallel()
	data := bytesOf(1000)
	for name, request := range map[string]*message{
		"write-past":    {Action: write, Offset: 501, Data: data[501:]},
		"write-before":  {Action: write, Offset: 499, Data: data[499:]},
		"write-no-data": {Action: write, Offset: 1},
		"commit-past":   {Action: commit, Offset: 501},
		"commit-before": {Action: commit, Offset: 1},
		"commit-data":   {Action: commit, Offset: 499, Data: data[499:]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, tenant := patiently(t), newTenant()
			s := tenant.at(0).write(ctx, t, "ref")
			s.must(t, &message{Action: write, Data: data[:500]})
			_, err := s.send(request)
			text := refused(t, err, codes.OutOfRange)
			if !strings.Contains(text, "500") || !strings.Contains(text, fmt.Sprint(request.Offset)) {
				t.Errorf("the text doesn't name both offsets: %q", text)
			}
			s, _ = tenant.reopen(ctx, t, 1, "ref", 500) // the ingest is kept
			s.must(t, &message{Action: commit, Offset: 500, Data: data[500:], Expected: digest.FromBytes(data).String()})
			tenant.held(ctx, t, digest.FromBytes(data), data)
		})
	}
	t.Run("restart", func(t *testing.T) {
		t.Parallel()
		ctx, tenant, again := patiently(t), newTenant(), bytesOf(9*mib)
		s := tenant.write(ctx, t, "ref")
		s.must(t, &message{Action: write, Data: bytesOf(9 * mib)})
		reply := s.must(t, &message{Action: write, Data: again})
		if reply.Offset != int64(len(again)) || digest.Digest(reply.Digest) != digest.FromBytes(again) {
			t.Fatalf("a restart has %d bytes, %s", reply.Offset, reply.Digest)
		}
		s.must(t, &message{Action: commit})
		tenant.held(ctx, t, digest.FromBytes(again), again)
	})
}

// TestLargeMessages sends what other clients do: 15 MiB at once.
func TestLargeMessages(t *testing.T) {
	t.Parallel()
	ctx, tenant, data := patiently(t), newTenant(), bytesOf(30*mib)
	s := tenant.write(ctx, t, "ref")
	s.must(t, &message{Action: write, Data: data[:15*mib], Total: int64(len(data))})
	reply := s.must(t, &message{Action: commit, Offset: 15 * mib, Data: data[15*mib:]})
	s.ended(t)
	if reply.Offset != int64(len(data)) || reply.Total != reply.Offset {
		t.Fatalf("committed %d bytes of %d", reply.Offset, reply.Total)
	}
	tenant.held(ctx, t, digest.FromBytes(data), data)
}

// TestFirstMessage needs a ref that can be one.
func TestFirstMessage(t *testing.T) {
	t.Parallel()
	for name, ref := range map[string]string{"none": "", "nul": "a\x00b", "long": strings.Repeat("r", 1025)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, tenant := patiently(t), newTenant()
			_, err := tenant.write(ctx, t, ref).send(&message{Action: stat})
			refused(t, err, codes.InvalidArgument)
		})
	}
	for name, ref := range map[string]string{
		"unicode": "schicht-ü-层", "spaces": " a b ", "path": "../../x", "long": strings.Repeat("r", 1024),
	} {
		t.Run(name+"-is-one", func(t *testing.T) {
			t.Parallel()
			ctx, tenant, data := patiently(t), newTenant(), bytesOf(10)
			tenant.at(0).write(ctx, t, ref).must(t, &message{Action: write, Data: data})
			eventually(ctx, t, "its status", func() bool { return tenant.at(1).offset(ctx, t, ref) == 10 })
			found, err := tenant.store().ListStatuses(ctx)
			if err != nil || len(found) != 1 || !bytes.Equal([]byte(found[0].Ref), []byte(ref)) {
				t.Fatalf("%v, %v", found, err)
			}
		})
	}
}
