package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
)

const (
	width  = 256     // hashes of a full tile
	inRAM  = 8 << 20 // leaves whose hashes are kept; of a larger log each tile is made when asked for
	prefix = `{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":"SHA2_256"},"signature":{"verifier":{"keyDetails":"PKIX_ECDSA_P256_SHA_256"},"content":"`
	suffix = `"}}}}`
)

// made is a log whose entries follow from their index: distinct, and as incompressible as
// signatures in base64 are. It keeps the hashes of level 1 and above, which are its parents.
type made struct {
	size       uint64
	entryBytes int
	leaves     []byte   // hashes, if they are few enough
	levels     [][]byte // of each level from 1 on, the hashes of the full tiles below it
	note       []byte
}

func (m *made) entry(index uint64, into []byte) []byte {
	random, start := rand.NewPCG(index, 600), len(into)
	into = append(into, prefix...)
	var block [48]byte
	for left := m.entryBytes - len(prefix) - len(suffix); left > 0; left -= 64 {
		for at := 0; at < len(block); at += 8 {
			binary.LittleEndian.PutUint64(block[at:], random.Uint64())
		}
		into = base64.StdEncoding.AppendEncode(into, block[:])
	}
	return append(into[:start+m.entryBytes-len(suffix)], suffix...)
}

func (m *made) leafHash(index uint64, scratch []byte) hash {
	return sha256.Sum256(m.entry(index, append(scratch[:0], 0)))
}

func (m *made) leafTile(index uint64, n int) []byte {
	if m.leaves != nil {
		start := index * width * sha256.Size
		return m.leaves[start : start+uint64(n)*sha256.Size]
	}
	data, scratch := make([]byte, 0, n*sha256.Size), make([]byte, 0, m.entryBytes+64)
	for at := uint64(0); at < uint64(n); at++ {
		leaf := m.leafHash(index*width+at, scratch)
		data = append(data, leaf[:]...)
	}
	return data
}

// bundle is entries as c2sp.org/tlog-tiles has them, each after its length in two bytes.
func (m *made) bundle(index uint64, n int) []byte {
	data := make([]byte, 0, n*(m.entryBytes+66))
	for at := uint64(0); at < uint64(n); at++ {
		data = binary.BigEndian.AppendUint16(data, uint16(m.entryBytes))
		data = m.entry(index*width+at, data)
	}
	return data
}

func perfect(tile []byte) hash {
	row := make([]hash, len(tile)/sha256.Size)
	for at := range row {
		row[at] = hash(tile[at*sha256.Size:])
	}
	for ; len(row) > 1; row = row[:len(row)/2] {
		for at := 0; at < len(row)/2; at++ {
			row[at] = node(row[2*at], row[2*at+1])
		}
	}
	return row[0]
}

// roots makes the hashes of one level of count things, on all processors.
func roots(count uint64, root func(uint64) hash) []byte {
	made := make([]byte, count*sha256.Size)
	var workers sync.WaitGroup
	const step = 4096
	next := make(chan uint64, 16)
	for range 4 {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for start := range next {
				for at := start; at < min(start+step, count); at++ {
					one := root(at)
					copy(made[at*sha256.Size:], one[:])
				}
			}
		}()
	}
	for start := uint64(0); start < count; start += step {
		next <- start
	}
	close(next)
	workers.Wait()
	return made
}

func makeLog(size uint64, entryBytes int, origin string, seed []byte) (*made, error) {
	if entryBytes < len(prefix)+len(suffix)+8 || entryBytes > 65535 {
		return nil, fmt.Errorf("entries of %d bytes", entryBytes)
	}
	m := &made{size: size, entryBytes: entryBytes}
	if size <= inRAM {
		m.leaves = roots(size, func(at uint64) hash {
			return m.leafHash(at, make([]byte, 0, entryBytes+64))
		})
	}
	below := func(at uint64) []byte { return m.leafTile(at, width) }
	for count := size / width; count > 0; count /= width {
		level := roots(count, func(at uint64) hash { return perfect(below(at)) })
		m.levels = append(m.levels, level)
		below = func(at uint64) []byte { return level[at*width*sha256.Size : (at+1)*width*sha256.Size] }
	}
	var peaks []hash // the largest first
	for bit := 63; bit >= 0; bit-- {
		if size>>bit&1 == 1 {
			start := size >> (bit + 1) << (bit + 1) // leaves to the left of it
			tile, _ := m.tile(bit/8, start>>(bit/8*8)/width, width)
			first := start >> (bit / 8 * 8) % width * sha256.Size
			peaks = append(peaks, perfect(tile[first:first+sha256.Size<<(bit%8)]))
		}
	}
	top := sha256.Sum256(nil)
	for at := len(peaks) - 1; at >= 0; at-- {
		if at == len(peaks)-1 {
			top = peaks[at]
		} else {
			top = node(peaks[at], top)
		}
	}
	key := ed25519.NewKeyFromSeed(seed)
	public := append([]byte{1}, key.Public().(ed25519.PublicKey)...)
	id := sha256.Sum256(append([]byte(origin+"\n"), public...))
	secret := base64.StdEncoding.EncodeToString(append([]byte{1}, seed...))
	signer, err := note.NewSigner(fmt.Sprintf("PRIVATE+KEY+%s+%s+%s", origin, hex.EncodeToString(id[:4]), secret))
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(top[:]))
	m.note, err = note.Sign(&note.Note{Text: text}, signer)
	return m, err
}

// tile returns the hashes that there are of a tile, at most n of them.
func (m *made) tile(level int, index uint64, n int) ([]byte, bool) {
	if level < 0 || level > len(m.levels) {
		return nil, false
	}
	there := m.size >> (8 * level)
	if index*width >= there {
		return nil, false
	}
	n = min(n, int(there-index*width))
	if level == 0 {
		return m.leafTile(index, n), true
	}
	start := index * width * sha256.Size
	return m.levels[level-1][start : start+uint64(n)*sha256.Size], true
}

// answer returns what is at a path of c2sp.org/tlog-tiles.
func (m *made) answer(path string) ([]byte, bool) {
	if path == "checkpoint" {
		return m.note, true
	}
	words := strings.Split(path, "/")
	if len(words) < 3 || words[0] != "tile" {
		return nil, false
	}
	level, words, wanted := words[1], words[2:], width
	if last := len(words) - 1; last > 0 && strings.HasSuffix(words[last-1], ".p") {
		wanted, _ = strconv.Atoi(words[last])
		words = append(words[:last-1:last-1], strings.TrimSuffix(words[last-1], ".p"))
	}
	index, err := strconv.ParseUint(strings.ReplaceAll(strings.Join(words, ""), "x", ""), 10, 40)
	if err != nil {
		return nil, false
	}
	height, isEntries := 0, level == "entries"
	if !isEntries {
		if height, err = strconv.Atoi(level); err != nil {
			return nil, false
		}
	}
	here := m.size>>(8*height) - min(m.size>>(8*height), index*width)
	if wanted < 1 || uint64(wanted) > here {
		return nil, false
	}
	if isEntries {
		return m.bundle(index, wanted), true
	}
	return m.tile(height, index, wanted)
}

// serve answers each request so much later than it came, and counts those for tiles and entries.
func serve(size uint64, latency time.Duration, entryBytes int, origin, seed string) error {
	raw, err := hex.DecodeString(seed)
	if err != nil || len(raw) != ed25519.SeedSize {
		return fmt.Errorf("expected a seed of %d bytes in hex", ed25519.SeedSize)
	}
	log, err := makeLog(size, entryBytes, origin, raw)
	if err != nil {
		return err
	}
	var mutex sync.Mutex
	asked, n := map[string]int{}, 0
	handler := http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		began, path := time.Now(), in.URL.Path[1:]
		if path == "counts" { // no latency: it is not of the log
			mutex.Lock()
			defer mutex.Unlock()
			fmt.Fprintf(out, "%d %d", n, len(asked))
			return
		}
		data, found := log.answer(path)
		if found && path != "checkpoint" {
			mutex.Lock()
			asked[path]++
			n++
			mutex.Unlock()
		}
		time.Sleep(latency - time.Since(began))
		if !found {
			http.NotFound(out, in)
			return
		}
		out.Header().Set("Content-Type", "application/octet-stream")
		out.Header().Set("Content-Length", strconv.Itoa(len(data)))
		out.Write(data)
	})
	listening, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listening.Addr().(*net.TCPAddr).Port)
	return http.Serve(listening, handler)
}
