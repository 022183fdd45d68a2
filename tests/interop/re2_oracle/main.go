// Says which patterns Go's regexp takes, and which texts each of them matches: the dialect
// that rekor-monitor's configuration is written in. Only the standard library.
package main

import (
	"encoding/json"
	"os"
	"regexp"
)

type question struct {
	Pattern string
	Texts   []string
}

type answer struct {
	Valid   bool
	Matches []bool
}

func main() {
	var questions []question
	if err := json.NewDecoder(os.Stdin).Decode(&questions); err != nil {
		panic(err)
	}
	answers := make([]answer, len(questions))
	for at, one := range questions {
		compiled, err := regexp.Compile(one.Pattern)
		if err != nil {
			continue
		}
		answers[at].Valid = true
		answers[at].Matches = make([]bool, len(one.Texts))
		for number, text := range one.Texts {
			answers[at].Matches[number] = compiled.MatchString(text)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		panic(err)
	}
}
