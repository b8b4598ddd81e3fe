package shell

import (
	"errors"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// parse reads a script in the Runner's dialect.
func (r *Runner) parse(text string) *parsed {
	c := &r.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.files[text]; p != nil {
		return p
	}
	p := new(parsed)
	if c.parser == nil {
		c.parser = r.Dialect.parser()
	}
	p.file, p.err = c.parser.Parse(strings.NewReader(text), "")
	if p.err != nil {
		p.file = r.beforeError(text)
	}
	if r.Dialect == Dash && p.file != nil {
		declare(p.file)
	}
	if p.lacks = lacking(p.file); p.lacks == "" {
		mergePipes(p.file, r)
	}
	if c.files == nil || len(c.files) >= maxParsed {
		c.files = make(map[string]*parsed)
	}
	c.files[text] = p
	return p
}

// beforeError is what a shell has run of a script when it comes to a line that
// it cannot parse: shells read one complete command at a time
// (dash and busybox ash do).
func (r *Runner) beforeError(text string) *syntax.File {
	var whole []*syntax.Stmt
	for stmt, err := range r.Dialect.parser().StmtsSeq(strings.NewReader(text)) {
		if err != nil {
			break
		}
		whole = append(whole, stmt)
	}
	// A command counts only if its line was complete.
	for len(whole) > 0 {
		rest := text[min(int(whole[len(whole)-1].End().Offset()), len(text)):]
		line, _, newline := strings.Cut(rest, "\n")
		line = strings.TrimSpace(line)
		if newline && (line == "" || line == ";" || strings.HasPrefix(line, "#")) {
			break
		}
		whole = whole[:len(whole)-1]
	}
	return &syntax.File{Stmts: whole}
}

// unsupported names the construct that keeps the script from being run at all.
func (p *parsed) unsupported() string { return p.lacks }

// lacking finds constructs that cannot run here: those that would make files,
// and those that would outlive the script.
func lacking(file *syntax.File) string {
	what := ""
	if file == nil {
		return what
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.ProcSubst:
			what = "process substitution"
		case *syntax.CoprocClause:
			what = "coproc"
		case *syntax.Stmt:
			if n.Background || n.Disown || n.Coprocess {
				what = "background job"
			}
		case *syntax.Redirect:
			if !handledRedirect(n) {
				what = "redirect " + n.Op.String()
			}
		case *syntax.Lit:
			if hugeRange(n.Value) {
				what = "brace expansion " + n.Value
			}
		}
		return what == ""
	})
	return what
}

// handledRedirect tells whether the interpreter has a redirect: it knows the
// descriptors 0 to 2.
func handledRedirect(rd *syntax.Redirect) bool {
	if rd.N != nil && rd.N.Value != "0" && rd.N.Value != "1" && rd.N.Value != "2" {
		return false
	}
	switch rd.Op {
	case syntax.RdrOut, syntax.AppOut, syntax.RdrIn, syntax.RdrAll, syntax.AppAll, syntax.Hdoc, syntax.DashHdoc, syntax.WordHdoc:
		return true
	case syntax.DplOut:
		to := rd.Word.Lit()
		return to == "1" || to == "2" || to == "-"
	case syntax.DplIn:
		return rd.Word.Lit() == "-"
	}
	return false
}

// maxRange bounds brace expansions such as {1..10}, which are expanded in
// memory before anything can count them.
const maxRange = 10000

func hugeRange(lit string) bool {
	for {
		_, after, ok := strings.Cut(lit, "{")
		if !ok {
			return false
		}
		lit = after
		body, _, _ := strings.Cut(after, "}")
		from, rest, ok := strings.Cut(body, "..")
		if !ok {
			continue
		}
		to, _, _ := strings.Cut(rest, "..")
		a, err1 := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if errors.Is(err1, strconv.ErrRange) || errors.Is(err2, strconv.ErrRange) {
			return true
		}
		if err1 == nil && err2 == nil && (a-b > maxRange || b-a > maxRange) {
			return true
		}
	}
}
