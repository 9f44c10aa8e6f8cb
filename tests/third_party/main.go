// Verifies an export of fulcrum with libraries of others: signed notes and transparency logs by the Go project,
// DSSE by in-toto's own. Nothing here knows fulcrum.
//
//	go run . DIR
package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
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

// Each envelope has the key's signature over its payload, which is an in-toto statement.
func statements(dir, key string) {
	raw := must(base64.StdEncoding.DecodeString(strings.SplitN(key, "+", 3)[2]))
	all := lines(dir, "statements.intoto.jsonl")
	for _, line := range all {
		var envelope dsse.Envelope
		check(json.Unmarshal([]byte(line), &envelope))
		payload := must(envelope.DecodeB64Payload())
		signature := must(base64.StdEncoding.DecodeString(envelope.Signatures[0].Sig))
		if !ed25519.Verify(raw[1:], dsse.PAE(envelope.PayloadType, payload), signature) {
			log.Fatal("a statement is not signed")
		}
		var statement struct {
			Type    string `json:"_type"`
			Subject []struct{ Digest map[string]string }
		}
		check(json.Unmarshal(payload, &statement))
		if statement.Type != "https://in-toto.io/Statement/v1" || len(statement.Subject) == 0 {
			log.Fatal("a statement is none of in-toto's")
		}
	}
	fmt.Println("statements:", len(all))
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
