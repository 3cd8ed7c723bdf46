package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"
)

// A bucket, asked without a library between: only the signature isn't ours.
type bucket struct {
	client   *http.Client
	base     string
	key      string
	secret   string
	location string
}

// put makes an object that must not be there yet, as every record and hold is made.
func (b bucket) put(ctx context.Context, name string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, b.base+"/"+name, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("If-None-Match", "*")
	request.Header.Set("X-Amz-Content-Sha256", fmt.Sprintf("%x", sha256.Sum256(body)))
	response, err := b.client.Do(signer.SignV4(*request, b.key, b.secret, "", b.location))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("PUT %s: %s %.300s", name, response.Status, text)
	}
	return err
}

// s3Small sends what the backend gets for small blobs, and nothing else: per blob a hold,
// and after its reply a record that has the bytes.
func s3Small(arguments []string) (any, error) {
	flags := flag.NewFlagSet("s3-small", flag.ExitOnError)
	endpoint := flags.String("endpoint", "", "of the S3 server")
	name := flags.String("bucket", "", "that is there")
	size := flags.Int64("size", 4096, "bytes of a record")
	hold := flags.Int64("hold", 300, "bytes of a hold")
	clients := flags.Int("clients", 8, "at once")
	count := flags.Int("count", 100, "blobs of each client, one after another")
	seed := flags.Uint64("seed", uint64(time.Now().UnixNano()), "of the content")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	target := bucket{
		client:   &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: *clients, DisableCompression: true}},
		base:     *endpoint + "/" + *name,
		key:      os.Getenv("AWS_ACCESS_KEY_ID"),
		secret:   os.Getenv("AWS_SECRET_ACCESS_KEY"),
		location: "us-east-1",
	}
	holdBody, recordBody := newBlob(*hold, int(*hold), *seed).piece, newBlob(*size, int(*size), *seed).piece
	errors := make([]error, *clients)
	act := func(client, number int) error {
		id := fmt.Sprintf("%d-%d-%d", *seed, client, number)
		if err := target.put(context.Background(), "straight/holds/"+id, holdBody); err != nil {
			return err
		}
		return target.put(context.Background(), "straight/records/"+id, recordBody)
	}
	all := func(from, to int) time.Duration {
		begun := time.Now()
		var group sync.WaitGroup
		for client := range *clients {
			group.Add(1)
			go func() {
				defer group.Done()
				for number := from; number < to && errors[client] == nil; number++ {
					errors[client] = act(client, number)
				}
			}()
		}
		group.Wait()
		return time.Since(begun)
	}
	// Connections are made before the clock runs.
	all(0, 1)
	took := all(1, *count+1)
	for _, err := range errors {
		if err != nil {
			return nil, err
		}
	}
	total := int64(*clients * *count)
	return result{Seconds: took.Seconds(), Count: total, Bytes: total * (*size + *hold)}, nil
}
