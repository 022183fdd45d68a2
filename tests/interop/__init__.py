"""Against real peers: the Rekor v2 server, a Go Merkle library, the sigstore client.

Selected by the marker interop; scripts/interop builds the peers and runs these tests.
"""
