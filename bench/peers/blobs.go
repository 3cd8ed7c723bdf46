package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// A blob is content that no other run has: one random piece, its start numbered.
type blob struct {
	size   int64
	seed   uint64
	piece  []byte
	digest string
}

// newBlob makes a blob to be sent in messages of `message` bytes, and hashes it.
func newBlob(size int64, message int, seed uint64) *blob {
	source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24), byte(seed >> 32)})
	piece := make([]byte, max(min(int64(message), size), 16))
	_, _ = source.Read(piece)
	made := &blob{size: size, seed: seed, piece: piece}
	running := sha256.New()
	for at := int64(0); at < size; {
		data := made.at(at, message)
		running.Write(data)
		at += int64(len(data))
	}
	made.digest = fmt.Sprintf("sha256:%x", running.Sum(nil))
	return made
}

// at gives the message that begins at an offset; it is overwritten by the next call.
func (b *blob) at(offset int64, message int) []byte {
	binary.BigEndian.PutUint64(b.piece, b.seed)
	binary.BigEndian.PutUint64(b.piece[8:], uint64(offset))
	return b.piece[:min(int64(message), b.size-offset)]
}
