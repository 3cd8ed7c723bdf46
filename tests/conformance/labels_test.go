package conformance

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

type labelled = map[string]string

// TestUpdate changes labels by all kinds of masks.
func TestUpdate(t *testing.T) {
	t.Parallel()
	const dotted = "containerd.io/gc.ref.content.0"
	for name, tc := range map[string]struct {
		labels labelled
		mask   []string
		want   labelled
	}{
		"no-mask":        {labelled{"new": "1"}, nil, labelled{"new": "1"}},
		"no-mask-none":   {nil, nil, nil},
		"all":            {labelled{"new": "1"}, []string{"labels"}, labelled{"new": "1"}},
		"all-none":       {nil, []string{"labels"}, nil},
		"set":            {labelled{"a": "2", "other": "3"}, []string{"labels.a"}, labelled{"a": "2", "b": "1", dotted: "d"}},
		"add":            {labelled{"c": "3"}, []string{"labels.c"}, labelled{"a": "1", "b": "1", "c": "3", dotted: "d"}},
		"set-dotted":     {labelled{dotted: "e"}, []string{"labels." + dotted}, labelled{"a": "1", "b": "1", dotted: "e"}},
		"remove":         {labelled{"a": ""}, []string{"labels.a"}, labelled{"b": "1", dotted: "d"}},
		"remove-missing": {nil, []string{"labels.a", "labels.unknown"}, labelled{"b": "1", dotted: "d"}},
		"two":            {labelled{"a": "2", "b": "2"}, []string{"labels.a", "labels.b"}, labelled{"a": "2", "b": "2", dotted: "d"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, tenant := patiently(t), newTenant()
			dgst := tenant.commit(ctx, t, "ref", bytesOf(10), "", labelled{"a": "1", "b": "1", dotted: "d"})
			before := tenant.at(0).info(ctx, t, dgst)
			updated, err := tenant.at(1).store().Update(ctx, content.Info{Digest: dgst, Labels: tc.labels, Size: 99, CreatedAt: time.Unix(1, 0)}, tc.mask...)
			if err != nil {
				t.Fatal(err)
			}
			after := tenant.at(0).info(ctx, t, dgst)
			if !maps.Equal(after.Labels, tc.want) || !maps.Equal(updated.Labels, tc.want) {
				t.Errorf("labels %v, answered %v", after.Labels, updated.Labels)
			}
			if after.Size != 10 || !after.CreatedAt.AsTime().Equal(before.CreatedAt.AsTime()) {
				t.Errorf("size and time of creation have changed: %v", after)
			}
			if !after.UpdatedAt.AsTime().After(before.UpdatedAt.AsTime()) || !after.UpdatedAt.AsTime().Equal(updated.UpdatedAt) {
				t.Errorf("updated at %s, answered %s", after.UpdatedAt.AsTime(), updated.UpdatedAt)
			}
		})
	}
}

// TestUpdateRefused leaves the labels alone.
func TestUpdateRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		labels labelled
		mask   []string
		code   codes.Code
	}{
		"size":          {nil, []string{"size"}, codes.InvalidArgument},
		"digest":        {nil, []string{"labels.a", "digest"}, codes.InvalidArgument},
		"nonsense":      {labelled{"a": "2"}, []string{"labels.a", "labelsx"}, codes.InvalidArgument},
		"a-long-label":  {labelled{"a": string(make([]byte, 4096))}, nil, codes.InvalidArgument},
		"a-long-label2": {labelled{"b": string(make([]byte, 4096))}, []string{"labels.b"}, codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, tenant := patiently(t), newTenant()
			dgst := tenant.commit(ctx, t, "ref", bytesOf(10), "", labelled{"a": "1"})
			_, err := tenant.api().Update(ctx, &contentapi.UpdateRequest{
				Info:       &contentapi.Info{Digest: dgst.String(), Labels: tc.labels},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: tc.mask},
			})
			refused(t, err, tc.code)
			if found := tenant.info(ctx, t, dgst).Labels; !maps.Equal(found, labelled{"a": "1"}) {
				t.Errorf("labels %v", found)
			}
		})
	}
	t.Run("unknown", func(t *testing.T) {
		t.Parallel()
		_, err := newTenant().api().Update(patiently(t), &contentapi.UpdateRequest{
			Info: &contentapi.Info{Digest: digest.FromBytes(bytesOf(16)).String()},
		})
		refused(t, err, codes.NotFound)
	})
}

// TestUpdateTogether sets labels of one blob at all frontends at once: none is lost.
func TestUpdateTogether(t *testing.T) {
	t.Parallel()
	ctx, tenant := patiently(t), newTenant()
	dgst, want := tenant.commit(ctx, t, "ref", bytesOf(10), "", nil), labelled{}
	var all sync.WaitGroup
	for i := range 12 {
		key := fmt.Sprintf("key.%d", i)
		want[key] = "set"
		all.Go(func() {
			info := content.Info{Digest: dgst, Labels: labelled{key: "set"}}
			if _, err := tenant.store().Update(ctx, info, "labels."+key); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for frontend := range frontends {
		if found := tenant.at(frontend).info(ctx, t, dgst).Labels; !maps.Equal(found, want) {
			t.Errorf("frontend %d: %v", frontend, found)
		}
	}
}
