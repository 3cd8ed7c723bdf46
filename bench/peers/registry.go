package main

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

type blobReader struct {
	content *blob
	at      int64
	rest    []byte
}

func (r *blobReader) Read(into []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.at == r.content.size {
			return 0, io.EOF
		}
		r.rest = r.content.at(r.at, len(r.content.piece))
		r.at += int64(len(r.rest))
	}
	n := copy(into, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// registryWrite sends a blob to a registry: POST, one PATCH, PUT.
func registryWrite(arguments []string) (any, error) {
	flags := flag.NewFlagSet("registry-write", flag.ExitOnError)
	base := flags.String("url", "", "of the registry")
	size := flags.Int64("size", 256<<20, "bytes of the blob")
	seed := flags.Uint64("seed", uint64(time.Now().UnixNano()), "of the content")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	content := newBlob(*size, 1<<20, *seed)
	begun := time.Now()
	location, err := exchange(http.MethodPost, *base+"/v2/bench/blobs/uploads/", nil, 0, http.StatusAccepted)
	if err != nil {
		return nil, err
	}
	location, err = exchange(http.MethodPatch, location, &blobReader{content: content}, *size, http.StatusAccepted)
	if err != nil {
		return nil, err
	}
	sent := time.Now()
	target, err := url.Parse(location)
	if err != nil {
		return nil, err
	}
	query := target.Query()
	query.Set("digest", content.digest)
	target.RawQuery = query.Encode()
	if _, err = exchange(http.MethodPut, target.String(), nil, 0, http.StatusCreated); err != nil {
		return nil, err
	}
	return result{Seconds: time.Since(begun).Seconds(), Count: 1, Bytes: *size, Commit: time.Since(sent).Seconds(), Digests: []string{content.digest}}, nil
}

func exchange(method, target string, body io.Reader, size int64, expected int) (string, error) {
	request, err := http.NewRequest(method, target, body)
	if err != nil {
		return "", err
	}
	request.ContentLength = size
	if body != nil {
		request.Header.Set("Content-Type", "application/octet-stream")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != expected {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 500))
		return "", fmt.Errorf("%s %s: %s %s", method, target, response.Status, text)
	}
	found, err := response.Location()
	if err == http.ErrNoLocation {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return found.String(), nil
}

// registryRead reads a blob from a registry.
func registryRead(arguments []string) (any, error) {
	flags := flag.NewFlagSet("registry-read", flag.ExitOnError)
	base := flags.String("url", "", "of the registry")
	digest := flags.String("digest", "", "of the blob")
	size := flags.Int64("size", 0, "its bytes, which are expected")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	begun := time.Now()
	response, err := http.Get(*base + "/v2/bench/blobs/" + *digest)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	found, err := io.CopyBuffer(io.Discard, response.Body, make([]byte, 1<<20))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK || found != *size {
		return nil, fmt.Errorf("%s, %d bytes, expected %d", response.Status, found, *size)
	}
	return result{Seconds: time.Since(begun).Seconds(), Count: 1, Bytes: found}, nil
}
