module fulcrum.dev/tests/third-party

go 1.22.0

require golang.org/x/mod v0.21.0

require (
	github.com/in-toto/attestation v1.1.2
	github.com/secure-systems-lab/go-securesystemslib v0.8.0
	google.golang.org/protobuf v1.36.6
)

require (
	golang.org/x/crypto v0.17.0 // indirect
	golang.org/x/sys v0.15.0 // indirect
)
