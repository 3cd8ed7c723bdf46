package conformance

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	stat   = contentapi.WriteAction_STAT
	write  = contentapi.WriteAction_WRITE
	commit = contentapi.WriteAction_COMMIT
	abort  = contentapi.WriteAction(3) // an earlier revision of the API had it

	largestPiece = mib // of a Read
)

// stream is a Write stream, message by message.
type stream struct {
	api contentapi.Content_WriteClient
	ref string
}

type message = contentapi.WriteContentRequest

func (t *tenant) write(ctx context.Context, tb testing.TB, ref string) *stream {
	tb.Helper()
	api, err := t.api().Write(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	return &stream{api: api, ref: ref}
}

// send sends a message and waits for its answer.
func (s *stream) send(request *message) (*contentapi.WriteContentResponse, error) {
	if request.Ref == "" {
		request.Ref = s.ref
	}
	if err := s.api.Send(request); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return s.api.Recv() // after io.EOF it has the status
}

// must is a message that has to succeed.
func (s *stream) must(tb testing.TB, request *message) *contentapi.WriteContentResponse {
	tb.Helper()
	reply, err := s.send(request)
	if err != nil {
		tb.Fatalf("%s of %q: %v", request.Action, s.ref, err)
	}
	if reply.Action != request.Action {
		tb.Fatalf("%s was answered by %s", request.Action, reply.Action)
	}
	return reply
}

// leave half-closes, and waits until the server has let go of the ref.
func (s *stream) leave(tb testing.TB) {
	tb.Helper()
	if err := s.api.CloseSend(); err != nil {
		tb.Fatal(err)
	}
	s.ended(tb)
}

// ended waits for the stream to end well.
func (s *stream) ended(tb testing.TB) {
	tb.Helper()
	if reply, err := s.api.Recv(); !errors.Is(err, io.EOF) {
		tb.Fatalf("stream of %q should have ended: %v, %v", s.ref, reply, err)
	}
}

// commit writes a blob in messages of up to 1 MiB, and commits it under a digest,
// or under its sha256 where that is empty.
func (t *tenant) commit(ctx context.Context, tb testing.TB, ref string, data []byte, expected digest.Digest, labels map[string]string) digest.Digest {
	tb.Helper()
	s := t.write(ctx, tb, ref)
	s.must(tb, &message{Action: stat, Total: int64(len(data))})
	for start := 0; start < len(data); start += mib {
		s.must(tb, &message{Action: write, Offset: int64(start), Data: data[start:min(start+mib, len(data))]})
	}
	reply := s.must(tb, &message{Action: commit, Offset: int64(len(data)), Expected: expected.String(), Labels: labels})
	s.ended(tb)
	return digest.Digest(reply.Digest)
}

// read reads a range; the answers' offsets and sizes are checked.
func (t *tenant) read(ctx context.Context, tb testing.TB, dgst digest.Digest, offset, size int64) ([]byte, error) {
	tb.Helper()
	answers, err := t.api().Read(ctx, &contentapi.ReadContentRequest{Digest: dgst.String(), Offset: offset, Size: size})
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	for {
		answer, err := answers.Recv()
		if errors.Is(err, io.EOF) {
			return body.Bytes(), nil
		}
		if err != nil {
			return nil, err
		}
		if answer.Offset != int64(body.Len()) || len(answer.Data) > largestPiece {
			tb.Fatalf("a piece of %d bytes at %d, where %d were there", len(answer.Data), answer.Offset, body.Len())
		}
		body.Write(answer.Data)
	}
}

// held is what a digest should read as.
func (t *tenant) held(ctx context.Context, tb testing.TB, dgst digest.Digest, data []byte) {
	tb.Helper()
	found, err := t.read(ctx, tb, dgst, 0, 0)
	if err != nil {
		tb.Fatalf("read of %s: %v", dgst, err)
	}
	if !bytes.Equal(found, data) {
		tb.Fatalf("%s has %d other bytes than the %d committed", dgst, len(found), len(data))
	}
}

func (t *tenant) infoOf(ctx context.Context, dgst digest.Digest) (*contentapi.InfoResponse, error) {
	return t.api().Info(ctx, &contentapi.InfoRequest{Digest: dgst.String()})
}

func (t *tenant) info(ctx context.Context, tb testing.TB, dgst digest.Digest) *contentapi.Info {
	tb.Helper()
	reply, err := t.infoOf(ctx, dgst)
	if err != nil {
		tb.Fatalf("info of %s: %v", dgst, err)
	}
	return reply.Info
}

func (t *tenant) remove(ctx context.Context, dgst digest.Digest) error {
	_, err := t.api().Delete(ctx, &contentapi.DeleteContentRequest{Digest: dgst.String()})
	return err
}

// offset is what Status says of a ref, or -1 where it doesn't know it.
func (t *tenant) offset(ctx context.Context, tb testing.TB, ref string) int64 {
	tb.Helper()
	reply, err := t.api().Status(ctx, &contentapi.StatusRequest{Ref: ref})
	if status.Code(err) == codes.NotFound {
		return -1
	}
	if err != nil {
		tb.Fatalf("status of %q: %v", ref, err)
	}
	return reply.Status.Offset
}

// refused checks how a call has failed, and that the text isn't too long for a trailer.
func refused(tb testing.TB, err error, code codes.Code) string {
	tb.Helper()
	if status.Code(err) != code {
		tb.Fatalf("expected %s, got %v", code, err)
	}
	text := status.Convert(err).Message()
	if len(text) == 0 || len(text) > 1024 {
		tb.Fatalf("%s with a text of %d bytes: %q", code, len(text), text)
	}
	return text
}

// bytesOf are random bytes that no other call gives.
func bytesOf(size int) []byte {
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(rand.Uint32())
	}
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(data) // it never fails
	return data
}
