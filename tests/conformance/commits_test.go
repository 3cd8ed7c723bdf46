package conformance

import (
	"strings"
	"testing"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
)

// TestCommitReply has all that a client may look at.
func TestCommitReply(t *testing.T) {
	t.Parallel()
	ctx, tenant, data := patiently(t), newTenant(), bytesOf(1000)
	s := tenant.write(ctx, t, "ref")
	first := s.must(t, &message{Action: write, Total: 1000, Data: data[:400]})
	reply := s.must(t, &message{Action: commit, Offset: 400, Data: data[400:], Labels: map[string]string{"a": "1"}})
	s.ended(t)
	if reply.Offset != 1000 || reply.Total != 1000 || digest.Digest(reply.Digest) != digest.FromBytes(data) {
		t.Errorf("%d bytes of %d, %s", reply.Offset, reply.Total, reply.Digest)
	}
	if !reply.StartedAt.AsTime().Equal(first.StartedAt.AsTime()) || reply.UpdatedAt.AsTime().Before(first.UpdatedAt.AsTime()) {
		t.Errorf("started %s, updated %s", reply.StartedAt.AsTime(), reply.UpdatedAt.AsTime())
	}
	if found := tenant.info(ctx, t, digest.FromBytes(data)); found.Size != 1000 || found.Labels["a"] != "1" {
		t.Errorf("%v", found)
	}
	if found := tenant.offset(ctx, t, "ref"); found != -1 {
		t.Errorf("the ingest still has %d bytes", found)
	}
}

// TestAlreadyExists is the answer wherever the tenant holds the digest, and the ingest
// is dropped.
func TestAlreadyExists(t *testing.T) {
	t.Parallel()
	data := bytesOf(1000)
	expected := digest.FromBytes(data).String()
	for name, messages := range map[string][]*message{
		"stat":             {{Action: stat, Expected: expected}},
		"write":            {{Action: write, Expected: expected, Data: data}},
		"later-stat":       {{Action: write, Data: data[:10]}, {Action: stat, Expected: expected}},
		"later-write":      {{Action: write, Data: data[:10]}, {Action: write, Offset: 10, Data: data[10:], Expected: expected}},
		"commit":           {{Action: write, Data: data}, {Action: commit}},
		"commit-offset":    {{Action: write, Data: data}, {Action: commit, Offset: 1000, Total: 1000}},
		"commit-expected":  {{Action: write, Data: data}, {Action: commit, Expected: expected}},
		"commit-with-data": {{Action: commit, Data: data}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, tenant := patiently(t), newTenant()
			tenant.at(0).commit(ctx, t, "first", data, "", nil)
			s := tenant.at(1).write(ctx, t, "ref")
			for _, request := range messages[:len(messages)-1] {
				s.must(t, copied(request))
			}
			_, err := s.send(copied(messages[len(messages)-1]))
			refused(t, err, codes.AlreadyExists)
			if found := tenant.offset(ctx, t, "ref"); found != -1 {
				t.Errorf("the ingest is kept, with %d bytes", found)
			}
		})
	}
}

// copied is a message that a parallel test may put its ref into.
func copied(request *message) *message {
	return &message{
		Action: request.Action, Offset: request.Offset, Total: request.Total,
		Expected: request.Expected, Data: request.Data, Labels: request.Labels,
	}
}

// TestCommitRepeated is a client whose first answer was lost.
func TestCommitRepeated(t *testing.T) {
	t.Parallel()
	for name, expected := range map[string]bool{"expected": true, "nothing-expected": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, tenant, data := patiently(t), newTenant(), bytesOf(1000)
			dgst := tenant.at(0).commit(ctx, t, "ref", data, "", nil)
			request := &message{Action: commit, Offset: 1000, Total: 1000}
			if expected {
				request.Expected = dgst.String()
			}
			_, err := tenant.at(1).write(ctx, t, "ref").send(request)
			refused(t, err, codes.AlreadyExists)
			tenant.held(ctx, t, dgst, data)
		})
	}
}

// TestOtherTenant has brought the content in: who has the bytes gets a hold of its own.
func TestOtherTenant(t *testing.T) {
	t.Parallel()
	ctx, one, two, data := patiently(t), newTenant(), newTenant(), bytesOf(1000)
	dgst := one.commit(ctx, t, "ref", data, "", map[string]string{"of": "one"})
	if got := two.commit(ctx, t, "ref", data, dgst, map[string]string{"of": "two"}); got != dgst {
		t.Fatalf("committed as %s", got)
	}
	if err := one.remove(ctx, dgst); err != nil {
		t.Fatal(err)
	}
	two.held(ctx, t, dgst, data)
	if found := two.info(ctx, t, dgst).Labels["of"]; found != "two" {
		t.Errorf("the label is %q", found)
	}
}

// TestRefusedCommit keeps the bytes, and what was wrong doesn't stick.
func TestRefusedCommit(t *testing.T) {
	t.Parallel()
	data, other := bytesOf(1000), digest.FromBytes(bytesOf(5)).String()
	for name, tc := range map[string]struct {
		request *message
		text    string
	}{
		"short-total":     {&message{Action: commit, Total: 999}, "unexpected commit size"},
		"long-total":      {&message{Action: commit, Total: 1001, Offset: 1000}, "unexpected commit size"},
		"digest":          {&message{Action: commit, Expected: other}, "unexpected commit digest"},
		"digest-and-size": {&message{Action: commit, Expected: other, Total: 7}, "unexpected commit"},
		"sha512":          {&message{Action: commit, Expected: digest.SHA512.FromString("x").String()}, "unexpected commit digest"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, tenant := patiently(t), newTenant()
			s := tenant.write(ctx, t, "ref")
			s.must(t, &message{Action: write, Data: data})
			_, err := s.send(tc.request)
			if text := refused(t, err, codes.FailedPrecondition); !strings.Contains(text, tc.text) {
				t.Errorf("%q doesn't say %q", text, tc.text)
			}
			s, _ = tenant.reopen(ctx, t, 1, "ref", len(data))
			reply := s.must(t, &message{Action: commit})
			if digest.Digest(reply.Digest) != digest.FromBytes(data) {
				t.Errorf("committed as %s", reply.Digest)
			}
		})
	}
}

// TestTotals counts the latest one, at COMMIT only.
func TestTotals(t *testing.T) {
	t.Parallel()
	ctx, tenant, data := patiently(t), newTenant(), bytesOf(1000)
	s := tenant.write(ctx, t, "ref")
	s.must(t, &message{Action: stat, Total: 10})
	s.must(t, &message{Action: write, Data: data}) // past the total
	if reply := s.must(t, &message{Action: stat, Total: 1000}); reply.Total != 1000 || reply.Offset != 1000 {
		t.Errorf("%d bytes of %d", reply.Offset, reply.Total)
	}
	if reply := s.must(t, &message{Action: stat}); reply.Total != 1000 {
		t.Errorf("total %d after a message without one", reply.Total)
	}
	s.must(t, &message{Action: commit})
	tenant.held(ctx, t, digest.FromBytes(data), data)
}

// TestExpected is enforced from whichever message it was on, and may not change before
// COMMIT, on which its own counts.
func TestExpected(t *testing.T) {
	t.Parallel()
	data := bytesOf(1000)
	right, wrong := digest.FromBytes(data).String(), digest.FromString("x").String()
	for name, tc := range map[string]struct {
		first, second, last string
		code                codes.Code
	}{
		"on-the-first":      {wrong, "", "", codes.FailedPrecondition},
		"on-a-later-one":    {"", wrong, "", codes.FailedPrecondition},
		"right":             {right, right, right, codes.OK},
		"commit-overrules":  {wrong, "", right, codes.OK},
		"changed":           {right, wrong, "", codes.InvalidArgument},
		"malformed-first":   {"sha256:abc", "", "", codes.InvalidArgument},
		"malformed-later":   {"", "sha256:abc", "", codes.InvalidArgument},
		"malformed-commit":  {"", "", strings.ToUpper(right), codes.InvalidArgument},
		"unknown-algorithm": {"md5:d41d8cd98f00b204e9800998ecf8427e", "", "", codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, tenant := patiently(t), newTenant()
			s := tenant.write(ctx, t, "ref")
			var reply *contentapi.WriteContentResponse
			var err error
			for _, request := range []*message{
				{Action: stat, Expected: tc.first},
				{Action: write, Data: data, Expected: tc.second},
				{Action: commit, Expected: tc.last},
			} {
				if reply, err = s.send(request); err != nil {
					break
				}
			}
			if tc.code != codes.OK {
				refused(t, err, tc.code)
			} else if err != nil || reply.Digest != right {
				t.Fatalf("%v, %v", reply, err)
			}
		})
	}
}
