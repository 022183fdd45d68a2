// Command oracle computes Merkle roots and proofs with golang.org/x/mod/sumdb/tlog,
// the implementation behind Go's own checksum database, so that the appliance can be
// compared with something none of its authors wrote.
//
// It reads one JSON object from standard input and answers with one on standard output;
// hashes are standard base64, sizes and indices plain numbers.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/tlog"
)

type questions struct {
	LeafHashes  []tlog.Hash
	Inclusion   [][2]int64 // entry index, tree size
	Consistency [][2]int64 // smaller size, larger size
}

type answers struct {
	RootHash    tlog.Hash
	Inclusion   [][]tlog.Hash
	Consistency [][]tlog.Hash
}

// stored holds the hashes of every complete subtree, at the positions tlog gives them.
type stored []tlog.Hash

func (s stored) ReadHashes(positions []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(positions))
	for i, position := range positions {
		if position < 0 || position >= int64(len(s)) {
			return nil, fmt.Errorf("no hash at position %d of %d", position, len(s))
		}
		hashes[i] = s[position]
	}
	return hashes, nil
}

func answer(asked questions) (answers, error) {
	var tree stored
	for index, leaf := range asked.LeafHashes {
		hashes, err := tlog.StoredHashesForRecordHash(int64(index), leaf, tree)
		if err != nil {
			return answers{}, err
		}
		tree = append(tree, hashes...)
	}
	var given answers
	var err error
	if given.RootHash, err = tlog.TreeHash(int64(len(asked.LeafHashes)), tree); err != nil {
		return answers{}, err
	}
	for _, pair := range asked.Inclusion {
		proof, err := tlog.ProveRecord(pair[1], pair[0], tree)
		if err != nil {
			return answers{}, err
		}
		given.Inclusion = append(given.Inclusion, proof)
	}
	for _, pair := range asked.Consistency {
		proof, err := tlog.ProveTree(pair[1], pair[0], tree)
		if err != nil {
			return answers{}, err
		}
		given.Consistency = append(given.Consistency, proof)
	}
	return given, nil
}

func main() {
	var asked questions
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		fmt.Fprintln(os.Stderr, "oracle: cannot read the questions:", err)
		os.Exit(2)
	}
	given, err := answer(asked)
	if err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(given); err != nil {
		fmt.Fprintln(os.Stderr, "oracle: cannot write the answers:", err)
		os.Exit(1)
	}
}
