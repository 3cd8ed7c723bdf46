package conformance

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/testsuite"
	containerdmeta "github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	bolt "go.etcd.io/bbolt"
)

// TestSuiteDirect runs containerd's suite on the content proxy itself.
func TestSuiteDirect(t *testing.T) {
	t.Parallel()
	testsuite.ContentSuite(t, "direct", func(ctx context.Context, _ string) (context.Context, content.Store, func() error, error) {
		return ctx, newTenant().store(), func() error { return nil }, nil
	})
}

// TestSuiteTenants lets the suite's namespaces be tenants: what one has brought in
// gives another, who can only name it, nothing to start with.
func TestSuiteTenants(t *testing.T) {
	t.Parallel()
	testsuite.ContentCrossNSIsolatedSuite(t, "tenants", func(ctx context.Context, _ string) (context.Context, content.Store, func() error, error) {
		var stores storeByContext
		wrap := func(ctx context.Context, _ bool) (context.Context, func(context.Context) error, error) {
			return context.WithValue(ctx, tenantKey{}, newTenant()), func(context.Context) error { return nil }, nil
		}
		return testsuite.SetContextWrapper(ctx, wrap), stores, func() error { return nil }, nil
	})
}

type tenantKey struct{}

// storeByContext writes as the tenant that the context names; more the isolated
// suite doesn't ask for.
type storeByContext struct{ content.Store }

func (storeByContext) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	return ctx.Value(tenantKey{}).(*tenant).store().Writer(ctx, opts...)
}

// TestSuiteMetadata runs containerd's suites on its metadata store, whose backend the
// proxy is: so containerd itself uses a content plugin.
//
// It isn't parallel, so that Go runs it before those that are: containerd's own writer takes bytes
// that another tenant has brought in for written already, and the suites write the same few.
func TestSuiteMetadata(t *testing.T) {
	isolated := underMetadata(containerdmeta.WithPolicyIsolated)
	testsuite.ContentSuite(t, "metadata", underMetadata())
	testsuite.ContentCrossNSSharedSuite(t, "metadata", underMetadata())
	testsuite.ContentCrossNSIsolatedSuite(t, "metadata", isolated)
	testsuite.ContentSharedNSIsolatedSuite(t, "metadata", isolated)
}

// underMetadata makes a metadata store of its own over a tenant of its own, in whose
// contexts each namespace is a new one.
func underMetadata(opts ...containerdmeta.DBOpt) testsuite.StoreInitFn {
	return func(ctx context.Context, root string) (context.Context, content.Store, func() error, error) {
		file, err := bolt.Open(filepath.Join(root, "metadata.db"), 0o600, nil)
		if err != nil {
			return nil, nil, nil, err
		}
		db := containerdmeta.NewDB(file, newTenant().store(), nil, opts...)
		if err := db.Init(ctx); err != nil {
			return nil, nil, nil, err
		}
		ctx = testsuite.SetContextWrapper(ctx, namespacesOf(file))
		return ctx, db.ContentStore(), file.Close, nil
	}
}

func namespacesOf(file *bolt.DB) testsuite.ContextWrapper {
	var count atomic.Uint64
	return func(ctx context.Context, shared bool) (context.Context, func(context.Context) error, error) {
		name := fmt.Sprintf("n%d", count.Add(1))
		ctx = namespaces.WithNamespace(ctx, name)
		var err error
		if shared {
			err = file.Update(func(tx *bolt.Tx) error {
				return containerdmeta.NewNamespaceStore(tx).SetLabel(ctx, name, labels.LabelSharedNamespace, "true")
			})
		}
		return ctx, func(context.Context) error { return nil }, err
	}
}
