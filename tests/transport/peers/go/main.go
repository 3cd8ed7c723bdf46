// Program peer is a client of the bytes service (tests/transport/bytes_service.py), by grpc-go.
//
//	peer ADDRESS CASE
//
// It prints what the test compares: the digest of what was read or written, or the status code
// that a call ended with.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

const (
	service = "/holdfast.test.Bytes/"
	piece   = 1 << 20
	pieces  = 64
	wait    = time.Minute
)

// raw sends and receives messages as they are.
type raw struct{}

func (raw) Name() string { return "raw" }

func (raw) Marshal(message any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*message.(*[]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, message any) error {
	*message.(*[]byte) = data.Materialize()
	return nil
}

var _ encoding.CodecV2 = raw{}

var (
	reading = &grpc.StreamDesc{ServerStreams: true}
	writing = &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
)

func code(err error) string { return status.Code(err).String() }

func echo(ctx context.Context, connection *grpc.ClientConn) (string, error) {
	request, reply := []byte("are you there?"), []byte(nil)
	err := connection.Invoke(ctx, service+"Echo", &request, &reply)
	return string(reply), err
}

// open starts a stream; the request of one that the server streams is sent at once.
func open(
	ctx context.Context, connection *grpc.ClientConn, kind *grpc.StreamDesc, name, request string,
) (grpc.ClientStream, error) {
	stream, err := connection.NewStream(ctx, kind, service+name)
	if err != nil || kind.ClientStreams {
		return stream, err
	}
	message := []byte(request)
	if err := stream.SendMsg(&message); err != nil {
		return nil, err
	}
	return stream, stream.CloseSend()
}

func read(ctx context.Context, connection *grpc.ClientConn) (string, error) {
	stream, err := open(ctx, connection, reading, "Read", fmt.Sprint(pieces*piece))
	if err != nil {
		return "", err
	}
	digest := sha256.New()
	for {
		var message []byte
		if err := stream.RecvMsg(&message); errors.Is(err, io.EOF) {
			return fmt.Sprintf("%x", digest.Sum(nil)), nil
		} else if err != nil {
			return "", err
		}
		digest.Write(message)
	}
}

func write(ctx context.Context, connection *grpc.ClientConn) (string, error) {
	stream, err := open(ctx, connection, writing, "Write", "")
	if err != nil {
		return "", err
	}
	for number := range pieces {
		message := make([]byte, piece)
		for at := range message {
			message[at] = byte(number)
		}
		if err := stream.SendMsg(&message); err != nil {
			return "", err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return "", err
	}
	var reply []byte
	err = stream.RecvMsg(&reply)
	return string(reply), err
}

func cancelled(ctx context.Context, connection *grpc.ClientConn) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := open(ctx, connection, reading, "Sleep", "go cancel")
	if err != nil {
		return "", err
	}
	var message []byte
	if err := stream.RecvMsg(&message); err != nil {
		return "", err
	}
	cancel()
	return code(stream.RecvMsg(&message)), nil
}

// late calls something else before, so that the time to connect isn't part of the deadline.
func late(ctx context.Context, connection *grpc.ClientConn) (string, error) {
	if _, err := echo(ctx, connection); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	stream, err := open(ctx, connection, reading, "Sleep", "go deadline")
	if err != nil {
		return "", err
	}
	var message []byte
	for err == nil {
		err = stream.RecvMsg(&message)
	}
	return code(err), nil
}

var cases = map[string]func(context.Context, *grpc.ClientConn) (string, error){
	"echo": echo, "read": read, "write": write, "cancel": cancelled, "deadline": late,
}

func run(address, name string) (string, error) {
	connection, err := grpc.NewClient(
		address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{})),
	)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	return cases[name](ctx, connection)
}

func main() {
	said, err := run(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(said)
}
