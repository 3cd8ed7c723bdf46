package conformance

import (
	_ "crypto/sha256" // for the digests
	_ "crypto/sha512"
	"testing"

	"github.com/opencontainers/go-digest"
)

var algorithms = []digest.Algorithm{digest.SHA256, digest.SHA384, digest.SHA512}

// TestAlgorithms commits under each algorithm, announced at once or at COMMIT only, when
// the bytes have been hashed with another.
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	for _, announced := range append(algorithms, "") {
		for _, committed := range algorithms {
			for name, size := range map[string]int{"small": 1000, "parts": 9*mib + 1} {
				announced, committed := announced, committed
				t.Run(string(announced)+"-then-"+string(committed)+"-"+name, func(t *testing.T) {
					t.Parallel()
					ctx, tenant, data := patiently(t), newTenant(), bytesOf(size)
					s := tenant.at(0).write(ctx, t, "ref")
					open := &message{Action: stat, Total: int64(size)}
					if announced != "" {
						open.Expected = announced.FromBytes(data).String()
					}
					s.must(t, open)
					s.must(t, &message{Action: write, Data: data[:size/2]})
					s.leave(t)
					s, _ = tenant.reopen(ctx, t, 1, "ref", size/2)
					s.must(t, &message{Action: write, Offset: int64(size / 2), Data: data[size/2:]})
					expected := committed.FromBytes(data)
					reply := s.must(t, &message{Action: commit, Expected: expected.String()})
					if reply.Digest != expected.String() {
						t.Fatalf("committed as %s", reply.Digest)
					}
					tenant.at(0).held(ctx, t, expected, data)
				})
			}
		}
	}
}

// TestSameBytes under several digests are several blobs of the tenant.
func TestSameBytes(t *testing.T) {
	t.Parallel()
	ctx, tenant, data := patiently(t), newTenant(), bytesOf(1000)
	for _, algorithm := range algorithms {
		dgst := tenant.commit(ctx, t, "ref", data, algorithm.FromBytes(data), map[string]string{"by": string(algorithm)})
		tenant.held(ctx, t, dgst, data)
	}
	if err := tenant.remove(ctx, digest.SHA256.FromBytes(data)); err != nil {
		t.Fatal(err)
	}
	for _, algorithm := range algorithms[1:] {
		dgst := algorithm.FromBytes(data)
		if found := tenant.info(ctx, t, dgst); found.Size != 1000 || found.Labels["by"] != string(algorithm) {
			t.Errorf("%v", found)
		}
		tenant.held(ctx, t, dgst, data)
	}
}
