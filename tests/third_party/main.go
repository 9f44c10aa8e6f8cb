// Verifies an export of fulcrum with libraries of others: signed notes and transparency logs by the Go project,
// envelopes by the authors of DSSE, statements by in-toto's own. Nothing here knows fulcrum.
//
//	go run . DIR
package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	attestation "github.com/in-toto/attestation/go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/encoding/protojson"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: go run . DIR")
	}
	dir := os.Args[1]
	keys := lines(dir, "keys")
	key := keys[len(keys)-1]
	size, root := checkpoint(dir, key)
	proofs(dir, size, root)
	statements(dir, key)
}

// The note is signed, and its second and third line are a size and a root.
func checkpoint(dir, key string) (int64, tlog.Hash) {
	verifier := must(note.NewVerifier(key))
	opened := must(note.Open(read(dir, "checkpoint"), note.VerifierList(verifier)))
	words := strings.Split(opened.Text, "\n")
	size := must(strconv.ParseInt(words[1], 10, 64))
	root := must(tlog.ParseHash(words[2]))
	fmt.Println("checkpoint:", size, "records")
	return size, root
}

// The last entry of each run is in the tree.
func proofs(dir string, size int64, root tlog.Hash) {
	leaves := lines(dir, "leaves")
	all := lines(dir, "proofs.jsonl")
	for _, line := range all {
		var proof struct {
			Leaf int64
			Path []string
		}
		check(json.Unmarshal([]byte(line), &proof))
		var path tlog.RecordProof
		for _, text := range proof.Path {
			path = append(path, hash(text))
		}
		leaf := hash(strings.Fields(leaves[proof.Leaf])[0])
		check(tlog.CheckRecord(path, size, root, proof.Leaf, leaf))
	}
	entries := lines(dir, "entries.jsonl")
	for index, line := range entries {
		if len(entries) == len(leaves) && tlog.RecordHash([]byte(line)) != hash(strings.Fields(leaves[index])[0]) {
			log.Fatal("leaf ", index, " is of another record")
		}
	}
	fmt.Println("proofs:", len(all), "runs,", len(entries), "records")
}

// Each envelope is signed by the key, says so by its id, and has a statement of in-toto with subjects.
func statements(dir, key string) {
	parts := strings.SplitN(key, "+", 3)
	raw := must(base64.StdEncoding.DecodeString(parts[2]))
	envelopes := must(dsse.NewEnvelopeVerifier(&verifier{id: parts[1], key: raw[1:]}))
	all := lines(dir, "statements.intoto.jsonl")
	for _, line := range all {
		var envelope dsse.Envelope
		check(json.Unmarshal([]byte(line), &envelope))
		must(envelopes.Verify(context.Background(), &envelope))
		if envelope.PayloadType != "application/vnd.in-toto+json" {
			log.Fatal("the payload is none of in-toto's: ", envelope.PayloadType)
		}
		var statement attestation.Statement
		check(protojson.Unmarshal(must(envelope.DecodeB64Payload()), &statement))
		check(statement.Validate())
	}
	fmt.Println("statements:", len(all))
}

// The key, as DSSE asks for it.
type verifier struct {
	id  string
	key ed25519.PublicKey
}

func (v *verifier) KeyID() (string, error)   { return v.id, nil }
func (v *verifier) Public() crypto.PublicKey { return v.key }

func (v *verifier) Verify(_ context.Context, data, signature []byte) error {
	if !ed25519.Verify(v.key, data, signature) {
		return errors.New("not signed by this key")
	}
	return nil
}

func hash(text string) (hash tlog.Hash) {
	copy(hash[:], must(hex.DecodeString(text)))
	return hash
}

func read(dir, name string) []byte {
	return must(os.ReadFile(filepath.Join(dir, name)))
}

func lines(dir, name string) []string {
	text := bytes.TrimSuffix(read(dir, name), []byte("\n"))
	return strings.Split(string(text), "\n")
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
