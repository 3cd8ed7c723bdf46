package conformance

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

var seed = flag.Uint64("filter-seed", 1, "seed of the filters that are made up")

// TestFilters asks List for what containerd's own parser and matcher would choose.
func TestFilters(t *testing.T) {
	t.Parallel()
	ctx, tenant := patiently(t), newTenant()
	var infos []content.Info
	for i, labels := range []labelled{
		nil,
		{"a": "1"},
		{"a": "2", "b": "x y"},
		{"containerd.io/gc.root": "2026-01-01T00:00:00Z"},
		{"b": "a,b", "c.d": `quo"ted`, "size": "5"},
		{"a": "ü", "b": "\n", "x/y": "/z/"},
	} {
		data := bytesOf(100 + i)
		infos = append(infos, content.Info{Digest: tenant.commit(ctx, t, "ref", data, "", labels), Size: int64(len(data)), Labels: labels})
	}
	one := infos[1].Digest.String()
	for _, asked := range append([][]string{
		{}, {""}, {"", "labels.unknown"}, {"labels.unknown"},
		{"digest"}, {"digest==" + one}, {"digest!=" + one}, {"digest~=" + one[7:20]}, {"digest~=/^sha256:/"},
		{"labels"}, {"labels.a"}, {"labels.a=="}, {"labels.a==1"}, {"labels.a!=1"}, {"labels.a~=^[12]$"},
		{"labels.a", "labels.b"}, {"labels.a,labels.b"}, {"labels.a==1", "labels.a==2"}, {"labels.a==1,labels.a==2"},
		{`labels."containerd.io/gc.root"`}, {`labels."containerd.io/gc.root"~=/^2026/`}, {`labels."x/y"=="/z/"`},
		{"labels.c.d"}, {`labels."c.d"`}, {`labels.c."d"=="quo\"ted"`}, {`labels.b=="x y"`}, {`labels.b=="a,b"`},
		{`labels.a=="\u00fc"`}, {`labels.a==ü`}, {`labels.b=="\n"`}, {`labels.b=="\x0a"`}, {`labels.b=="\012"`},
		{"labels.a~=("}, {`labels.a~="("`}, {"labels.a~=/(/"}, {"labels.unknown~=^$"}, {"labels.unknown!=x"}, {"labels.unknown=="},
		{`labels.b~=|a,b|`}, {`labels.b~=/x\sy/`}, {`labels.b==/x/`}, {"labels.b==|x|"},
		{"size"}, {"size==100"}, {"created_at"}, {"unknown"}, {"unknown!=1"}, {"digest.x"},
		{"labels.a == 1"}, {" labels.a"}, {"labels.a "}, {"labels.a,"}, {",labels.a"}, {","}, {"labels."}, {".labels"},
		{"labels.a=1"}, {"labels.a===1"}, {"labels.a<1"}, {"labels.a=!1"}, {"==1"}, {"labels.a==1 2"}, {`labels.a=="1`},
		{`labels."a`}, {`labels.a=="\q"`}, {"labels.a~=/1"}, {"labels..a"}, {"labels.a-b"}, {"labels.a.b==1"}, {"\x00"}, {"ü"},
	}, madeUp(rand.New(rand.NewPCG(*seed, 0)), 150)...) {
		t.Run(fmt.Sprintf("%q", asked), func(t *testing.T) {
			filter, wrong := filters.ParseAll(asked...)
			var want, found []digest.Digest
			for _, info := range infos {
				if wrong == nil && filter.Match(content.AdaptInfo(info)) {
					want = append(want, info.Digest)
				}
			}
			err := tenant.store().Walk(ctx, func(info content.Info) error {
				found = append(found, info.Digest)
				return nil
			}, asked...)
			if wrong != nil {
				if !errdefs.IsInvalidArgument(err) {
					t.Fatalf("containerd says %v; here: %v, %v", wrong, found, err)
				}
				return
			}
			slices.Sort(want)
			slices.Sort(found)
			if err != nil || !slices.Equal(want, found) {
				t.Fatalf("containerd chooses %v; here: %v, %v", want, found, err)
			}
		})
	}
}

// madeUp are filters put together from what has a meaning in them.
func madeUp(random *rand.Rand, count int) [][]string {
	pieces := []string{
		"digest", "labels", "labels.a", `labels."a"`, "labels.b", "a", "1", "x", "ü", ".", ",", " ",
		"==", "!=", "~=", "=", `"`, `\`, "/", "|", `"x y"`, "/^1/", "(", "[12]", "_", "-",
	}
	terms := []string{"labels.a", "labels.b", "digest", `labels."c.d"`, "labels.c.d", "labels.size", "size"}
	values := []string{"1", "2", `"x y"`, `"a,b"`, "/./", "|,|", "^$", "a", `""`, "sha256:", `"quo\"ted"`}
	pick := func(from []string) string { return from[random.IntN(len(from))] }
	var all [][]string
	for i := range count {
		var text strings.Builder
		if i%2 == 0 { // most of these are refused
			for range 1 + random.IntN(6) {
				text.WriteString(pick(pieces))
			}
			all = append(all, []string{text.String()})
			continue
		}
		var alternatives []string
		for range 1 + random.IntN(2) {
			term := pick(terms) + pick([]string{"==", "!=", "~="}) + pick(values)
			if random.IntN(2) == 0 {
				term += "," + pick(terms)
			}
			alternatives = append(alternatives, term)
		}
		all = append(all, alternatives)
	}
	return all
}

// TestStatusFilters chooses ingests by their refs.
func TestStatusFilters(t *testing.T) {
	t.Parallel()
	ctx, tenant := patiently(t), newTenant()
	for _, ref := range []string{"layer-1", "layer-2", "config 1"} {
		s := tenant.write(ctx, t, ref)
		s.must(t, &message{Action: write, Data: bytesOf(10), Total: 20})
		s.leave(t)
	}
	for filter, want := range map[string]int{
		"": 3, "ref": 3, "ref==layer-1": 1, `ref=="config 1"`: 1, "ref!=layer-1": 2, "ref~=^layer": 2,
		"ref~=^layer,ref!=layer-2": 1, "ref==unknown": 0, "labels.a": 0, "ref~=(": 0,
	} {
		found, err := tenant.store().ListStatuses(ctx, filter)
		if err != nil || len(found) != want {
			t.Errorf("%q: %v, %v", filter, found, err)
		}
		for _, status := range found {
			if status.Offset != 10 || status.Total != 20 || status.StartedAt.IsZero() || status.UpdatedAt.Before(status.StartedAt) {
				t.Errorf("%+v", status)
			}
		}
	}
	if _, err := tenant.store().ListStatuses(ctx, "ref=="); err != nil && !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
	if _, err := tenant.store().ListStatuses(ctx, "ref=x"); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
	if others, err := newTenant().store().ListStatuses(ctx); err != nil || len(others) != 0 {
		t.Errorf("another tenant sees %v, %v", others, err)
	}
}
