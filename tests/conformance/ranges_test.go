package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
)

// TestRanges reads blobs at, before and after each border there is: of the blob, of a
// piece of an answer, of a block of the store, of the numbers.
func TestRanges(t *testing.T) {
	t.Parallel()
	const block, least, most = 4 * mib, math.MinInt64, math.MaxInt64
	for _, n := range []int64{0, 1, 1000, mib, mib + 1, block, 9*mib + 7} {
		t.Run(fmt.Sprintf("%d-bytes", n), func(t *testing.T) {
			t.Parallel()
			ctx, tenant, data := patiently(t), newTenant(), bytesOf(int(n))
			dgst := tenant.commit(ctx, t, "ref", data, "", nil)
			for _, asked := range [][2]int64{ // offset, size
				{0, 0}, {0, -1}, {0, least}, {0, 1}, {0, n - 1}, {0, n}, {0, n + 1}, {0, most},
				{-1, 0}, {-1, 1}, {least, 0}, {least, 1}, {least, most},
				{1, 0}, {1, n}, {1, most},
				{n - 1, 0}, {n - 1, 1}, {n - 1, 2}, {n - 1, -1},
				{n, 0}, {n, 1}, {n, -1}, {n, most},
				{n + 1, 0}, {n + 1, 1}, {n + 1, -1}, {most, 0}, {most, 1}, {most, most},
				{mib - 1, 1}, {mib - 1, 2}, {mib, mib}, {mib, mib + 1},
				{block - 1, 1}, {block - 1, 2}, {block, 1}, {block + 1, block},
			} {
				found, err := tenant.read(ctx, t, dgst, asked[0], asked[1])
				expectRange(t, data, asked[0], asked[1], found, err)
			}
		})
	}
}

// expectRange checks what a Read of `wanted` bytes at an offset gave.
func expectRange(t *testing.T, data []byte, offset, wanted int64, found []byte, err error) {
	t.Helper()
	start, size := max(offset, 0), int64(len(data))
	if start > size {
		refused(t, err, codes.OutOfRange)
		return
	}
	end := size
	if wanted > 0 && wanted < size-start {
		end = start + wanted
	}
	if err != nil || !bytes.Equal(found, data[start:end]) {
		t.Fatalf("offset %d, size %d: %d bytes of a blob of %d, %v", offset, wanted, len(found), size, err)
	}
}

// TestReaderAt reads through containerd's io.ReaderAt.
func TestReaderAt(t *testing.T) {
	t.Parallel()
	ctx, tenant, data := patiently(t), newTenant(), bytesOf(5*mib+3)
	dgst := tenant.commit(ctx, t, "ref", data, "", nil)
	reader, err := tenant.store().ReaderAt(ctx, ocispec.Descriptor{Digest: dgst})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if reader.Size() != int64(len(data)) {
		t.Fatalf("size %d, not %d", reader.Size(), len(data))
	}
	all, err := io.ReadAll(io.NewSectionReader(reader, 0, reader.Size()+1))
	if err != nil || !bytes.Equal(all, data) {
		t.Fatalf("%d bytes, %v", len(all), err)
	}
	tail := make([]byte, 100)
	n, err := reader.ReadAt(tail, reader.Size()-10)
	if n != 10 || !errors.Is(err, io.EOF) || !bytes.Equal(tail[:n], data[len(data)-10:]) {
		t.Fatalf("the tail: %d bytes, %v", n, err)
	}
}

// TestUnknownDigests are told from malformed ones.
func TestUnknownDigests(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		digest digest.Digest
		code   codes.Code
	}{
		"unknown":        {digest.FromBytes(bytesOf(16)), codes.NotFound},
		"unknown-sha512": {digest.SHA512.FromBytes(bytesOf(16)), codes.NotFound},
		"empty":          {"", codes.InvalidArgument},
		"short":          {"sha256:abc", codes.InvalidArgument},
		"upper-case":     {"sha256:" + digest.Digest(bytes.Repeat([]byte("A"), 64)), codes.InvalidArgument},
		"md5":            {"md5:d41d8cd98f00b204e9800998ecf8427e", codes.InvalidArgument},
		"a-path":         {"sha256:../../../../etc/passwd", codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, tenant := patiently(t), newTenant()
			_, err := tenant.read(ctx, t, tc.digest, 0, 0)
			refused(t, err, tc.code)
			_, err = tenant.infoOf(ctx, tc.digest)
			refused(t, err, tc.code)
			err = tenant.remove(ctx, tc.digest)
			if tc.code == codes.NotFound {
				if err != nil { // containerd's collector ends its pass on any error
					t.Fatal(err)
				}
			} else {
				refused(t, err, tc.code)
			}
		})
	}
}
