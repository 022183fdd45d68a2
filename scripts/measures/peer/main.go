// Command bench-peer does in Go what scripts/bench measures us at:
//
//	bench-peer fetch CONCURRENCY < URLS      GET each and throw the bytes away
//	bench-peer root TREE_SIZE < FILES        hash level 0 tile files to the root
//	bench-peer prove DIR TREE_SIZE COUNT     prove records from a tlog-tiles directory
//
// and serves what is fetched, on a port of its own, which it prints:
//
//	bench-peer serve TREE_SIZE MILLISECONDS ENTRY_BYTES ORIGIN SEED
//
// It prints what it did and its own processor seconds.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

type hash = [sha256.Size]byte

func lines(out chan<- string) {
	scanner := bufio.NewScanner(os.Stdin)
	for scanner.Scan() {
		out <- scanner.Text()
	}
	close(out)
}

func fetch(concurrency int) error {
	transport := &http.Transport{MaxIdleConnsPerHost: concurrency}
	client, urls := &http.Client{Transport: transport}, make(chan string, 4*concurrency)
	go lines(urls)
	failed := make(chan error, concurrency)
	var workers sync.WaitGroup
	for i := 0; i < concurrency; i++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for url := range urls {
				response, err := client.Get(url)
				if err != nil {
					failed <- err
					return
				}
				_, err = io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if err == nil && response.StatusCode != 200 {
					err = errors.New(url + ": " + response.Status)
				}
				if err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	workers.Wait()
	close(failed)
	return <-failed
}

func node(left, right hash) hash {
	var data [1 + 2*sha256.Size]byte
	data[0] = 1
	copy(data[1:], left[:])
	copy(data[1+sha256.Size:], right[:])
	return sha256.Sum256(data[:])
}

// root appends leaves to a compact range: at most one whole subtree of each height.
func root(size uint64) (string, error) {
	files := make(chan string, 64)
	go lines(files)
	var peaks []hash // the largest first
	var count uint64
	for file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		for ; len(data) >= sha256.Size && count < size; data = data[sha256.Size:] {
			peak := hash(data[:sha256.Size])
			for bits := count; bits&1 == 1; bits >>= 1 {
				peak = node(peaks[len(peaks)-1], peak)
				peaks = peaks[:len(peaks)-1]
			}
			peaks = append(peaks, peak)
			count++
		}
	}
	if count != size {
		return "", fmt.Errorf("%d leaves, expected %d", count, size)
	}
	top := peaks[len(peaks)-1]
	for i := len(peaks) - 2; i >= 0; i-- {
		top = node(peaks[i], top)
	}
	return hex.EncodeToString(top[:]), nil
}

type tiles struct{ directory string }

func (t tiles) Height() int { return 8 }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		// c2sp.org/tlog-tiles has no height in its paths.
		path := filepath.Join(t.directory, "tile", tile.Path()[len("tile/8/"):])
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func prove(directory string, size, count int64) error {
	top, err := os.ReadFile(filepath.Join(directory, "root"))
	if err != nil {
		return err
	}
	raw, err := hex.DecodeString(string(top))
	if err != nil {
		return err
	}
	tree := tlog.Tree{N: size, Hash: tlog.Hash(raw)}
	for i := int64(0); i < count; i++ {
		reader := tlog.TileHashReader(tree, tiles{directory})
		if _, err := tlog.ProveRecord(size, i*2654435761%size, reader); err != nil {
			return err
		}
	}
	return nil
}

func number(text string) int64 {
	found, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return found
}

func main() {
	var said string
	var err error
	switch words := os.Args[1:]; {
	case len(words) == 2 && words[0] == "fetch":
		err = fetch(int(number(words[1])))
	case len(words) == 2 && words[0] == "root":
		said, err = root(uint64(number(words[1])))
	case len(words) == 4 && words[0] == "prove":
		err = prove(words[1], number(words[2]), number(words[3]))
	case len(words) == 6 && words[0] == "serve":
		latency := time.Duration(number(words[2])) * time.Millisecond
		err = serve(uint64(number(words[1])), latency, int(number(words[3])), words[4], words[5])
	default:
		err = errors.New("usage: bench-peer fetch N | root SIZE | prove DIR SIZE COUNT | serve …")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-peer:", err)
		os.Exit(1)
	}
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	spent := usage.Utime.Nano() + usage.Stime.Nano()
	fmt.Printf("%s %.6f\n", said, float64(spent)/1e9)
}
