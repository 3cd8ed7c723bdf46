package conformance

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	containerdmeta "github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
)

// TestCollect runs containerd's collector on its metadata store over ours: what has no
// root, or only the backend knows, is deleted; another node's isn't.
func TestCollect(t *testing.T) {
	t.Parallel()
	file, err := bolt.Open(filepath.Join(t.TempDir(), "metadata.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	node, other := newTenant(), newTenant()
	ctx := namespaces.WithNamespace(patiently(t), "ns")
	db := containerdmeta.NewDB(file, node.store(), nil)

	layer := bytesOf(100)
	child := put(ctx, t, db.ContentStore(), layer, nil)
	root := put(ctx, t, db.ContentStore(), bytesOf(100), labelled{
		"containerd.io/gc.root":          "now",
		"containerd.io/gc.ref.content.0": child.String(),
	})
	put(ctx, t, db.ContentStore(), bytesOf(50), nil)
	begin(ctx, t, db.ContentStore(), "known")
	node.commit(ctx, t, "ref", bytesOf(50), "", nil)
	begin(ctx, t, node.store(), "unknown")
	theirs := other.commit(ctx, t, "ref", bytesOf(50), "", nil)
	begin(ctx, t, other.store(), "theirs")

	if _, err := db.GarbageCollect(ctx); err != nil {
		t.Fatal(err)
	}
	if found := node.listed(ctx, t); !slices.Equal(ordered(found), ordered([]digest.Digest{root, child})) {
		t.Errorf("left: %v, not %s and %s", found, root, child)
	}
	node.held(ctx, t, child, layer)
	if found := other.listed(ctx, t); !slices.Equal(found, []digest.Digest{theirs}) {
		t.Errorf("the other node has %v", found)
	}
	expectRefs(ctx, t, node, "ns/1/known")
	expectRefs(ctx, t, other, "theirs")
}

func expectRefs(ctx context.Context, t *testing.T, tenant *tenant, want string) {
	t.Helper()
	if found, err := tenant.store().ListStatuses(ctx); err != nil || len(found) != 1 || found[0].Ref != want {
		t.Errorf("ingests: %v, %v; only %s should be left", found, err, want)
	}
}

func put(ctx context.Context, t *testing.T, store content.Store, data []byte, labels labelled) digest.Digest {
	t.Helper()
	desc := ocispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	if err := content.WriteBlob(ctx, store, "ref", bytes.NewReader(data), desc, content.WithLabels(labels)); err != nil {
		t.Fatal(err)
	}
	return desc.Digest
}

// begin leaves an ingest of 10 bytes.
func begin(ctx context.Context, t *testing.T, store content.Store, ref string) {
	t.Helper()
	writer, err := store.Writer(ctx, content.WithRef(ref))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writer.Write(bytesOf(10)); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
}

func ordered(found []digest.Digest) []digest.Digest {
	slices.Sort(found)
	return found
}
