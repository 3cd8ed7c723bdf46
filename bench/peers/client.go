package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

const (
	messageLimit = 16 << 20
	tenantHeader = "x-holdfast-tenant"
	// As containerd's clients read while they unpack.
	unpackRead = 32 << 10
)

// target says whom a client talks to, and how much at once.
type target struct {
	flags       *flag.FlagSet
	address     *string
	tenant      *string
	clients     *int
	connections *int
	ca          *string
	cert        *string
	key         *string
}

func targetFlags(name string) target {
	flags := flag.NewFlagSet(name, flag.ExitOnError)
	return target{
		flags:       flags,
		address:     flags.String("address", "", "of the server, as grpc-go dials it; or of several, between commas: they take turns"),
		tenant:      flags.String("tenant", "bench", "sent in "+tenantHeader),
		clients:     flags.Int("clients", 1, "at once"),
		connections: flags.Int("connections", 0, "that they share; 0: one each"),
		ca:          flags.String("ca", "", "file with the issuer of the server's certificate; without it, no TLS"),
		cert:        flags.String("cert", "", "file with the client's certificate"),
		key:         flags.String("key", "", "file with its key"),
	}
}

// transport says how connections are encrypted.
func (t target) transport() (credentials.TransportCredentials, error) {
	if *t.ca == "" {
		return insecure.NewCredentials(), nil
	}
	ca, err := os.ReadFile(*t.ca)
	if err != nil {
		return nil, err
	}
	shown, err := tls.LoadX509KeyPair(*t.cert, *t.key)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s has no certificate", *t.ca)
	}
	return credentials.NewTLS(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{shown}}), nil
}

// each runs `act` once per client at once, and returns how long all of them took.
func (t target) each(act func(ctx context.Context, number int, client contentapi.ContentClient) error) (time.Duration, error) {
	ctx := metadata.AppendToOutgoingContext(context.Background(), tenantHeader, *t.tenant)
	addresses := strings.Split(*t.address, ",")
	transport, err := t.transport()
	if err != nil {
		return 0, err
	}
	clients := make([]contentapi.ContentClient, *t.clients)
	for number := range clients {
		if *t.connections > 0 && number >= *t.connections {
			clients[number] = clients[number%*t.connections]
			continue
		}
		connection, err := grpc.NewClient(addresses[number%len(addresses)],
			grpc.WithTransportCredentials(transport),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageLimit), grpc.MaxCallSendMsgSize(messageLimit)))
		if err != nil {
			return 0, err
		}
		defer connection.Close()
		clients[number] = contentapi.NewContentClient(connection)
		// A connection is made before the clock runs.
		if _, err := clients[number].ListStatuses(ctx, &contentapi.ListStatusesRequest{}); err != nil {
			return 0, err
		}
	}
	errors := make([]error, len(clients))
	begun := time.Now()
	var group sync.WaitGroup
	for number, client := range clients {
		group.Add(1)
		go func() {
			defer group.Done()
			errors[number] = act(ctx, number, client)
		}()
	}
	group.Wait()
	took := time.Since(begun)
	for _, err := range errors {
		if err != nil {
			return took, err
		}
	}
	return took, nil
}

// A result is what a run took: seconds, counts, and percentiles of single calls in seconds.
type result struct {
	Seconds float64  `json:"seconds"`
	Count   int64    `json:"count"`
	Bytes   int64    `json:"bytes"`
	P50     float64  `json:"p50"`
	P99     float64  `json:"p99"`
	Commit  float64  `json:"commit"`
	Digests []string `json:"digests,omitempty"`
}

// latencies of calls, gathered by many clients.
type latencies struct {
	mutex sync.Mutex
	all   []time.Duration
}

func (l *latencies) add(took ...time.Duration) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.all = append(l.all, took...)
}

func (l *latencies) at(share float64) float64 {
	if len(l.all) == 0 {
		return 0
	}
	slices.Sort(l.all)
	return l.all[min(int(share*float64(len(l.all))), len(l.all)-1)].Seconds()
}

// write sends blobs as containerd does: STAT, WRITEs in lock-step, COMMIT.
func write(arguments []string) (any, error) {
	t := targetFlags("write")
	size := t.flags.Int64("size", 256<<20, "bytes of a blob")
	message := t.flags.Int("message", 1<<20, "bytes of a WRITE")
	count := t.flags.Int("count", 1, "blobs of each client, one after another")
	seed := t.flags.Uint64("seed", uint64(time.Now().UnixNano()), "of the content")
	pause := t.flags.Duration("pause", 0, "between the last WRITE and the COMMIT")
	if err := t.flags.Parse(arguments); err != nil {
		return nil, err
	}
	blobs := make([][]*blob, *t.clients)
	for client := range blobs {
		for number := range *count {
			blobs[client] = append(blobs[client], newBlob(*size, *message, *seed+uint64(client**count+number)*1_000_003))
		}
	}
	// Making content takes a while; who measures beside this waits for the line.
	fmt.Fprintln(os.Stderr, "writing")
	var commits latencies
	took, err := t.each(func(ctx context.Context, number int, client contentapi.ContentClient) error {
		for index, content := range blobs[number] {
			commit, err := send(ctx, client, fmt.Sprintf("bench-%d-%d-%d", *seed, number, index), content, *message, *pause)
			if err != nil {
				return err
			}
			commits.add(commit)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	total := int64(*t.clients * *count)
	made := result{Seconds: took.Seconds(), Count: total, Bytes: total * *size, P50: commits.at(0.5), P99: commits.at(0.99), Commit: commits.at(0.5)}
	for _, several := range blobs {
		for _, content := range several {
			made.Digests = append(made.Digests, content.digest)
		}
	}
	return made, nil
}

// send writes one blob and returns how long its COMMIT took, which comes a pause after the last WRITE.
func send(ctx context.Context, client contentapi.ContentClient, ref string, content *blob, message int, pause time.Duration) (time.Duration, error) {
	stream, err := client.Write(ctx)
	if err != nil {
		return 0, err
	}
	ask := func(request *contentapi.WriteContentRequest) (*contentapi.WriteContentResponse, error) {
		if err := stream.Send(request); err != nil {
			// The status is what the server says, not what sending says.
			_, err = stream.Recv()
			return nil, err
		}
		return stream.Recv()
	}
	if _, err := ask(&contentapi.WriteContentRequest{Action: contentapi.WriteAction_STAT, Ref: ref, Total: content.size, Expected: content.digest}); err != nil {
		return 0, err
	}
	for at := int64(0); at < content.size; {
		data := content.at(at, message)
		reply, err := ask(&contentapi.WriteContentRequest{Action: contentapi.WriteAction_WRITE, Offset: at, Data: data})
		if err != nil {
			return 0, err
		}
		at += int64(len(data))
		if reply.Offset != at {
			return 0, fmt.Errorf("offset %d after WRITE, expected %d", reply.Offset, at)
		}
	}
	time.Sleep(pause)
	begun := time.Now()
	reply, err := ask(&contentapi.WriteContentRequest{Action: contentapi.WriteAction_COMMIT, Offset: content.size, Total: content.size, Expected: content.digest})
	if err != nil {
		return 0, err
	}
	if reply.Digest != content.digest {
		return 0, fmt.Errorf("committed %s, expected %s", reply.Digest, content.digest)
	}
	return time.Since(begun), stream.CloseSend()
}

// read reads a whole blob over and over, by one stream per client at a time.
func read(arguments []string) (any, error) {
	t := targetFlags("read")
	digest := t.flags.String("digest", "", "of the blob")
	size := t.flags.Int64("size", 0, "its bytes, which are expected")
	count := t.flags.Int("count", 1, "calls of each client")
	if err := t.flags.Parse(arguments); err != nil {
		return nil, err
	}
	var calls latencies
	took, err := t.each(func(ctx context.Context, _ int, client contentapi.ContentClient) error {
		single := make([]time.Duration, 0, *count)
		for range *count {
			begun := time.Now()
			if err := receive(ctx, client, &contentapi.ReadContentRequest{Digest: *digest}, *size); err != nil {
				return err
			}
			single = append(single, time.Since(begun))
		}
		calls.add(single...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	total := int64(*t.clients * *count)
	return result{Seconds: took.Seconds(), Count: total, Bytes: total * *size, P50: calls.at(0.5), P99: calls.at(0.99)}, nil
}

func receive(ctx context.Context, client contentapi.ContentClient, request *contentapi.ReadContentRequest, size int64) error {
	stream, err := client.Read(ctx, request)
	if err != nil {
		return err
	}
	var found int64
	for {
		response, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		found += int64(len(response.Data))
	}
	if found != size {
		return fmt.Errorf("read %d bytes, expected %d", found, size)
	}
	return nil
}

// unpack reads a blob as an unpacking containerd does: an Info, then one Read per 32 KiB, in order.
func unpack(arguments []string) (any, error) {
	t := targetFlags("unpack")
	digest := t.flags.String("digest", "", "of the blob")
	if err := t.flags.Parse(arguments); err != nil {
		return nil, err
	}
	var reads atomic.Int64
	var calls latencies
	took, err := t.each(func(ctx context.Context, _ int, client contentapi.ContentClient) error {
		found, err := client.Info(ctx, &contentapi.InfoRequest{Digest: *digest})
		if err != nil {
			return err
		}
		var single []time.Duration
		for at := int64(0); at < found.Info.Size; at += unpackRead {
			size := min(unpackRead, found.Info.Size-at)
			begun := time.Now()
			request := &contentapi.ReadContentRequest{Digest: *digest, Offset: at, Size: size}
			if err := receive(ctx, client, request, size); err != nil {
				return err
			}
			single = append(single, time.Since(begun))
		}
		reads.Add(int64(len(single)))
		calls.add(single...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return result{Seconds: took.Seconds(), Count: reads.Load(), Bytes: reads.Load() * unpackRead, P50: calls.at(0.5), P99: calls.at(0.99)}, nil
}

// info asks for one blob over and over.
func info(arguments []string) (any, error) {
	t := targetFlags("info")
	digest := t.flags.String("digest", "", "of the blob")
	count := t.flags.Int("count", 1000, "calls of each client")
	if err := t.flags.Parse(arguments); err != nil {
		return nil, err
	}
	var calls latencies
	took, err := t.each(func(ctx context.Context, _ int, client contentapi.ContentClient) error {
		single := make([]time.Duration, 0, *count)
		for range *count {
			begun := time.Now()
			if _, err := client.Info(ctx, &contentapi.InfoRequest{Digest: *digest}); err != nil {
				return err
			}
			single = append(single, time.Since(begun))
		}
		calls.add(single...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return result{Seconds: took.Seconds(), Count: int64(*count * *t.clients), P50: calls.at(0.5), P99: calls.at(0.99)}, nil
}
