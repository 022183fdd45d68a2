// Makes Ed25519ph signatures (RFC 8032), good and spoiled, and says whether Go takes them.
//
//	oracle SEED COUNT
//
// prints COUNT lines: 1 or 0, key, signature and SHA-512 digest in hexadecimal.
package main

import (
	"bufio"
	"crypto"
	"crypto/ed25519"
	"fmt"
	"math/big"
	"math/rand"
	"os"
	"strconv"
)

// The encodings of the points of small order, and some that no point has: y = p, p+1, all ones.
var strange = [][32]byte{
	{0: 1}, {0: 1, 31: 0x80}, {}, {31: 0x80},
	filled(0xec, 0xff, 0x7f), filled(0xec, 0xff, 0xff), filled(0xed, 0xff, 0x7f),
	filled(0xee, 0xff, 0x7f), filled(0xee, 0xff, 0xff), filled(0xff, 0xff, 0xff),
}

func filled(first, middle, last byte) (point [32]byte) {
	for i := range point {
		point[i] = middle
	}
	point[0], point[31] = first, last
	return point
}

// plusOrder adds a multiple of the group's order to S: the same equation, another spelling.
func plusOrder(signature []byte, times int64) {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	bigEndian := make([]byte, 32)
	for i := range bigEndian {
		bigEndian[i] = signature[63-i]
	}
	scalar := new(big.Int).SetBytes(bigEndian)
	scalar.Add(scalar, order.Mul(order, big.NewInt(times)))
	if scalar.BitLen() > 256 {
		return
	}
	scalar.FillBytes(bigEndian)
	for i := range bigEndian {
		signature[63-i] = bigEndian[i]
	}
}

func main() {
	seed, err := strconv.ParseInt(os.Args[1], 10, 64)
	if err != nil {
		panic(err)
	}
	count, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	random := rand.New(rand.NewSource(seed))
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	options := &ed25519.Options{Hash: crypto.SHA512}
	for range make([]struct{}, count) {
		secret := make([]byte, ed25519.SeedSize)
		random.Read(secret)
		private := ed25519.NewKeyFromSeed(secret)
		key := append([]byte{}, private.Public().(ed25519.PublicKey)...)
		digest := make([]byte, 64)
		random.Read(digest)
		signature, err := private.Sign(nil, digest, options)
		if err != nil {
			panic(err)
		}
		switch random.Intn(9) {
		case 0, 1:
		case 2:
			key[random.Intn(32)] ^= 1 << random.Intn(8)
		case 3:
			signature[random.Intn(64)] ^= 1 << random.Intn(8)
		case 4:
			digest[random.Intn(64)] ^= 1 << random.Intn(8)
		case 5:
			plusOrder(signature, 1+random.Int63n(15))
		case 6:
			point := strange[random.Intn(len(strange))]
			copy(key, point[:])
			if random.Intn(2) == 0 { // R of S = 0 with a key of small order: often the equation holds
				point = strange[random.Intn(len(strange))]
				copy(signature, point[:])
				clear(signature[32:])
			}
		case 7:
			point := strange[random.Intn(len(strange))]
			copy(signature, point[:])
		case 8: // pure Ed25519 over the digest is no Ed25519ph
			copy(signature, ed25519.Sign(private, digest))
		}
		verdict := 0
		if ed25519.VerifyWithOptions(key, digest, signature, options) == nil {
			verdict = 1
		}
		fmt.Fprintf(out, "%d %x %x %x\n", verdict, key, signature, digest)
	}
}
