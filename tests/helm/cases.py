"""Sets of values that the chart accepts, and values that it refuses, each with the reason.

What is accepted here, an API server accepts without a warning (tests/kubernetes/test_chart.py);
most of what is refused is what such a server would refuse, or what it would accept and never run.
"""

from __future__ import annotations

from typing import Any, Final

Values = dict[str, Any]

PEER: Final[Values] = {"podSelector": {"matchLabels": {"app": "proxy"}}}
PROXY: Final[Values] = {
    "name": "proxy",
    "image": "example.invalid/proxy:1",
    "ports": [{"name": "grpc-tls", "containerPort": 9443}],
}
BLOCKS: Final[Values] = {"diskCacheBudget": "100GiB"}
CLAIM: Final[Values] = {
    "accessModes": ["ReadWriteOnce"],
    "resources": {"requests": {"storage": "120Gi"}},
}
NODES_ALONE: Final = "a release of its own for agents"

ACCEPTED: Final[dict[str, Values]] = {
    "least": {},
    "everything": {
        "nameOverride": "content",
        "fullnameOverride": "content-store",
        "global": {"imageRegistry": "mirror.example:5000", "imagePullSecrets": [{"name": "m"}]},
        "replicaCount": 5,
        "image": {"digest": f"sha256:{'ab' * 32}", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "pull"}],
        "s3": {
            "endpoint": "http://minio.minio.svc:9000",
            "prefix": "fleet-1/",
            "pathStyle": True,
            "checksums": False,
            "existingSecret": {"name": "s3"},
        },
        "networkPolicy": {"clients": [PEER], "scrapers": [{"namespaceSelector": {}}]},
        "service": {"port": 443, "annotations": {"a": "b"}},
        "serviceAccount": {"annotations": {"role": "arn:aws:iam::1:role/content"}},
        "settings": {
            "ingestLifetime": 1_000_000,
            "suspendGrace": 2.5,
            "leaseTtl": 30,
            "diskCacheBudget": "2TiB",
        },
        "gc": {"schedule": "@hourly", "spoolSize": "500Mi"},
        "envFrom": [{"secretRef": {"name": "more"}}],
        "extraEnv": [{"name": "AWS_PROFILE", "value": "content"}],
        "podDisruptionBudget": {"maxUnavailable": "25%"},
        "nodeSelector": {"disk": "none"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "system-cluster-critical",
        "podLabels": {"team": "content"},
        "podAnnotations": {"a": "b"},
        "initContainers": [{"name": "wait", "image": "example.invalid/wait:1"}],
        "extraVolumes": [{"name": "proxy-tls", "secret": {"secretName": "tls"}}],
        "extraVolumeMounts": [{"name": "proxy-tls", "mountPath": "/proxy", "readOnly": True}],
    },
    "quotas of nodes": {
        "quotas": '[tenants."ci-*"]\nbytes = "2 GiB"\n',
        "settings": {
            "tenantBytes": "1TiB",
            "fleetBytes": "80TiB",
            "tenantHolds": 5000,
            "tenantIngests": 50,
            "tenantIngestBytes": "0",
            "tenantCallRate": 9,
        },
    },
    "files that exist": {
        "redis": {"existingSecret": {"passwordKey": "password"}},
        "s3": {"existingSecret": {"name": "s3", "credentialsKey": "credentials"}},
        "existingIdentities": {"configMap": "who-asks"},
        "existingQuotas": {"secret": "bounds"},
        "tokenKeys": [{"name": "cluster", "configMap": "issuer"}],
        "extraCAs": {"configMap": "authorities", "key": "bundle.pem"},
        "listener": {"tls": {"existingSecret": {"name": "frontends"}}},
        "expire": {"enabled": True},
    },
    "least rights": {
        "s3": {"existingSecret": {"name": "frontend-s3"}},
        "gc": {
            "s3": {"existingSecret": {"name": "gc-s3", "credentialsKey": "credentials"}},
            "redis": {"existingSecret": {"name": "gc-redis", "passwordKey": "password"}},
            "tolerations": [{"key": "batch", "operator": "Exists", "effect": "NoSchedule"}],
        },
        "scrub": {
            "s3": {"existingSecret": {"name": "scrub-s3"}},
            "redis": {"existingSecret": {"name": "scrub-redis"}},
            "nodeSelector": {"pool": "batch"},
            "timeZone": "Europe/Berlin",
        },
        "expire": {
            "enabled": True,
            "missingNodes": True,
            "only": ["node-*"],
            "serviceAccount": {"annotations": {"role": "arn:aws:iam::1:role/expire"}},
            "s3": {"existingSecret": {"name": "expire-s3"}},
        },
    },
    "loads from inside": {
        "networkPolicy": {"clients": [PEER]},
        "load": {
            "image": {"repository": "example.invalid/holdfast-load"},
            "fleet": {"enabled": True, "nodes": 500, "layers": ["16MiB"] * 8, "spread": 60},
            "ghz": {"enabled": True, "profiles": ["info", "write"], "seconds": 2.5},
            "nodeSelector": {"load": "yes"},
        },
    },
    "a proxy in the pod": {
        "listener": {"host": "127.0.0.1"},
        "identities": "# by the proxy's certificate",
        "networkPolicy": {"enabled": False},
        "service": {"targetPort": "grpc-tls", "headless": False},
        "extraContainers": [PROXY],
    },
    "one tenant, guarded elsewhere": {
        "listener": {"tenantHeader": "", "tenant": "a", "host": "::", "insecure": True},
        "networkPolicy": {"enabled": False},
        "serviceAccount": {"create": False},
        "gc": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "shutdown": {"preStopSeconds": 0},
        "topologySpreadConstraints": [
            {"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
        ],
    },
    "many frontends": {
        "autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 40},
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1},
        "extraContainers": [{**PROXY, "securityContext": {"runAsUser": 101}}],
    },
    "operators with a certificate": {
        "http": {
            "tls": {"existingSecret": {"name": "frontends"}},
            "operators": {"commonName": "ops@site"},
        },
        "monitoring": {"podMonitor": {"enabled": True}},
    },
    "operators of others": {
        "certificates": {"enabled": True, "issuerRef": {"name": "content"}},
        "monitoring": {
            "podMonitor": {"enabled": True, "labels": {"release": "p"}, "interval": "15s"},
            "rules": {"enabled": True, "labels": {"release": "p"}},
            "dashboards": {"enabled": True},
        },
    },
    "a Service's targets": {
        "monitoring": {
            "serviceMonitor": {
                "enabled": True,
                "scrapeTimeout": "5s",
                "metricRelabelings": [{"action": "labeldrop", "regex": "pod_template_hash"}],
            }
        },
        "listener": {"tls": {"existingSecret": {"name": "frontends"}}},
        "test": {"tls": {"existingSecret": {"name": "client"}}, "tokenAudience": "holdfast"},
    },
    "a network with few ways": {
        "s3": {"endpoint": "http://minio.minio.svc:9000", "existingSecret": {"name": "s3"}},
        "settings": {"traces": "http://collector.traces.svc:4317"},
        "networkPolicy": {
            "clients": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}],
            "egress": {
                "dns": {"to": [{"namespaceSelector": {}, "podSelector": {}}]},
                "redis": {"to": [{"ipBlock": {"cidr": "fd00::/8"}}], "ports": [6380, 26379]},
                "extra": [{"ports": [{"port": 8200, "protocol": "TCP"}]}],
            },
        },
    },
    "a load from inside": {
        "load": {
            "image": {"repository": "example.invalid/load"},
            "fleet": {"enabled": True},
            "ghz": {"enabled": True},
        }
    },
    "agents on nodes": {
        "podSecurity": "privileged",
        "nodes": {
            "enabled": True,
            "image": {"repository": "example.invalid/node"},
            "frontends": ["frontend.example:9443"],
            "canary": {"nodeSelector": {"example/canary": "yes"}},
        },
    },
    NODES_ALONE: {
        "podSecurity": "privileged",
        "replicaCount": 0,
        "gc": {"enabled": False},
        "scrub": {"enabled": False},
        "test": {"enabled": False},
        "nodes": {
            "enabled": True,
            "image": {"repository": "example.invalid/node"},
            "frontends": ["frontend.example:9443"],
        },
    },
    "pages for operators": {
        "http": {
            "tls": {"existingSecret": {"name": "pages"}},
            "operators": {"commonName": "ops"},
        },
        "monitoring": {"podMonitor": {"enabled": True}},
    },
    "hostPath for blocks": {
        "podSecurity": "privileged",
        "settings": BLOCKS,
        "diskCache": {"volume": {"hostPath": {"path": "/var/cache/x", "type": "Directory"}}},
    },
    "ephemeral volumes for blocks": {
        "settings": BLOCKS,
        "diskCache": {"volume": {"ephemeral": {"volumeClaimTemplate": {"spec": CLAIM}}}},
    },
    "fractional graces": {"settings": {"drainGrace": 0.5, "suspendGrace": 1.5, "gcReadGrace": 0.1}},
    "a home of one's own": {"extraEnv": [{"name": "HOME", "value": "/x"}]},
    "schedules": {
        "gc": {"schedule": "@every 1h30m"},
        "scrub": {"schedule": "*/5,7 0-6/2 1,15 JAN-mar ?"},
        "expire": {"enabled": True, "schedule": "0 4 * * sun"},
    },
}
"""By what is special about them."""

WITH_FRONTENDS: Final = [name for name in ACCEPTED if name != NODES_ALONE]
"""The names of those with frontends."""

EVERY_POD: Final = {
    **ACCEPTED["agents on nodes"],
    **ACCEPTED["a load from inside"],
    "expire": {"enabled": True},
}
"""Values with which there is each kind of pod."""

LEAST: Final = "specifications of the schema"

REFUSED: Final[dict[str, tuple[Values, str]]] = {
    "service.port that is http.port": ({"service": {"port": 9090}}, "service.port and http.port"),
    "listener.port that is http.port": ({"listener": {"port": 9090}}, "listener.port and http.por"),
    "operators on a plain port": (
        {"http": {"operators": {"commonName": "ops"}}},
        "http.operators needs http.tls.existingSecret.name",
    ),
    "operators without issuers": (
        {
            "http": {
                "tls": {"existingSecret": {"name": "t", "clientCaKey": ""}},
                "operators": {"commonName": "ops"},
            }
        },
        "needs http.tls.existingSecret.clientCaKey",
    ),
    "operators by rules that aren't there": (
        {
            "http": {
                "tls": {"existingSecret": {"name": "t"}},
                "operators": {"identities": True},
            }
        },
        "http.operators.identities needs rules",
    ),
    "operators by two ways": (
        {
            "http": {
                "tls": {"existingSecret": {"name": "t"}},
                "operators": {"identities": True, "commonName": "ops"},
            }
        },
        "set one of http.operators.commonName and http.operators.identities",
    ),
    "an operator's name that ends its option": (
        {"http": {"operators": {"commonName": "ops&insecure=1"}}},
        "/http/operators/commonName",
    ),
    "a targetPort of digits": ({"service": {"targetPort": "9000"}}, "/service/targetPort"),
    "a targetPort with two hyphens": ({"service": {"targetPort": "a--b"}}, "/service/targetPort"),
    "a targetPort that isn't there": ({"service": {"targetPort": "proxy"}}, "service.targetPort"),
    "a targetPort of the pages": ({"service": {"targetPort": "http"}}, "service.targetPort"),
    "a port that is there twice": (
        {"extraContainers": [{**PROXY, "ports": [{"name": "p", "containerPort": 9000}]}]},
        "extraContainers: the port p (9000) of proxy",
    ),
    "a unit that Kubernetes lacks": ({"gc": {"spoolSize": "1K"}}, "/gc/spoolSize"),
    "a minute that isn't one": ({"gc": {"schedule": "61 * * * *"}}, "gc.schedule is"),
    "a range backwards": ({"scrub": {"schedule": "0 5-1 * * *"}}, "scrub.schedule is"),
    "a step of nothing": ({"gc": {"schedule": "*/0 * * * *"}}, "gc.schedule is"),
    "a seventh weekday": ({"gc": {"schedule": "0 0 * * 7"}}, "its weekday can't be"),
    "four fields": ({"gc": {"schedule": "0 0 * *"}}, "has 4"),
    "a word that is none": ({"gc": {"schedule": "@fortnightly"}}, "gc.schedule is"),
    "a zone in the schedule": ({"gc": {"schedule": "TZ=UTC 1 * * * *"}}, "gc.timeZone"),
    "a budget of 200 %": ({"podDisruptionBudget": {"maxUnavailable": "200%"}}, "/maxUnavailable"),
    "a label of the selector": (
        {"podLabels": {"app.kubernetes.io/name": "other"}},
        "podLabels has app.kubernetes.io/name",
    ),
    "a label with a space": ({"podLabels": {"a": "b c"}}, "/podLabels/a"),
    "an annotation with a space": (
        {"service": {"annotations": {"a b": "c"}}},
        'service.annotations has the name "a b"',
    ),
    "a label with a space in its name": (
        {"gc": {"nodeSelector": {"a b": "c"}}},
        'gc.nodeSelector has the name "a b"',
    ),
    "a variable twice": (
        {"extraEnv": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]},
        "extraEnv has A twice",
    ),
    "a variable of the chart's": (
        {
            "s3": {"existingSecret": {"name": "s3"}},
            "extraEnv": [{"name": "AWS_ACCESS_KEY_ID", "value": "x"}],
        },
        "extraEnv has AWS_ACCESS_KEY_ID",
    ),
    "a variable of a job's": (
        {
            "scrub": {"s3": {"existingSecret": {"name": "s3"}}},
            "extraEnv": [{"name": "AWS_ACCESS_KEY_ID", "value": "x"}],
        },
        "extraEnv has AWS_ACCESS_KEY_ID",
    ),
    "a setting in the environment": (
        {"extraEnv": [{"name": "HOLDFAST_LISTEN", "value": "x"}]},
        "/extraEnv/0/name",
    ),
    "a request above the limit": (
        {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "2000Mi"}}},
        "resources: the request of 2Gi memory is above the limit of 2000Mi",
    ),
    "a limit below what is needed": (
        {"resources": {"limits": {"memory": "512Mi"}}},
        "resources: the request of 640Mi memory is above the limit of 512Mi",
    ),
    "a collector's request above its limit": (
        {"gc": {"resources": {"requests": {"memory": "1Gi"}}}},
        "gc.resources: the request",
    ),
    "a quantity that is none": ({"resources": {"limits": {"cpu": "two"}}}, "/resources/limits/cpu"),
    "a user beyond the range": ({"runAsUser": 4294967296}, "/runAsUser"),
    "a release of nothing": ({"replicaCount": 0}, "replicaCount is 0, and nodes.enabled is false"),
    "more replicas than there can be": ({"replicaCount": 3_000_000_000}, "/replicaCount"),
    "capitals in the name": ({"fullnameOverride": "Store"}, "/fullnameOverride"),
    "a dot in the name": ({"fullnameOverride": "a.b"}, "/fullnameOverride"),
    "a space in the chart's name": ({"nameOverride": "a b"}, "/nameOverride"),
    "capitals in the chart's name": ({"nameOverride": "Store"}, "nameOverride"),
    "capitals in a Secret's name": (
        {"redis": {"existingSecret": {"name": "Redis"}}},
        "/redis/existingSecret/name",
    ),
    "a space in a key": (
        {"redis": {"existingSecret": {"key": "a b"}}},
        "/redis/existingSecret/key",
    ),
    "an incomplete volume": (
        {"settings": BLOCKS, "diskCache": {"volume": {"nfs": {"server": "x"}}}},
        "/diskCache/volume/nfs",
    ),
    "two sources of a volume": (
        {"diskCache": {"volume": {"emptyDir": {}, "hostPath": {"path": "/x"}}}},
        "/diskCache/volume",
    ),
    "a folder of the host's": (
        {"settings": BLOCKS, "diskCache": {"volume": {"hostPath": {"path": "/x"}}}},
        "diskCache.volume is a hostPath",
    ),
    "a volume of the host's": (
        {"extraVolumes": [{"name": "a", "hostPath": {"path": "/x"}}]},
        "extraVolumes: a is a hostPath",
    ),
    "a volume of the chart's": (
        {"extraVolumes": [{"name": "scratch", "emptyDir": {}}]},
        "extraVolumes: scratch",
    ),
    "a mount without a volume": (
        {"extraVolumeMounts": [{"name": "a", "mountPath": "/x"}]},
        "extraVolumeMounts: there is no volume a",
    ),
    "a mount of the chart's": (
        {
            "extraVolumes": [{"name": "a", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "a", "mountPath": "/tmp/"}],  # noqa: S108 -- the pod's
        },
        "extraVolumeMounts: /tmp/",
    ),
    "a privileged container": (
        {"extraContainers": [{**PROXY, "securityContext": {"privileged": True}}]},
        "extraContainers: proxy is privileged",
    ),
    "a capability": (
        {"initContainers": [{**PROXY, "securityContext": {"capabilities": {"add": ["SYS_TIME"]}}}]},
        "initContainers: proxy has the capabilities SYS_TIME",
    ),
    "root in a container": (
        {"extraContainers": [{**PROXY, "securityContext": {"runAsUser": 0}}]},
        "extraContainers: proxy runs as user 0",
    ),
    "another frontend": (
        {"extraContainers": [{"name": "frontend", "image": "x"}]},
        "another container called frontend",
    ),
    "a space in the image": ({"image": {"repository": "a b"}}, "/image/repository"),
    "a slash in the tag": ({"image": {"tag": "a/b"}}, "/image/tag"),
    "a grace of 30,000 years": ({"settings": {"drainGrace": 1e12}}, "settings.drainGrace"),
    "a day before SIGTERM": ({"shutdown": {"preStopSeconds": 100_000}}, "/preStopSeconds"),
    "two sources of authorities": (
        {"extraCAs": {"configMap": "a", "secret": "b"}},
        "only one of extraCAs.configMap and extraCAs.secret",
    ),
    "a roll-out that can't begin": ({"rollingUpdate": {"maxSurge": 0}}, "rollingUpdate.maxSurge"),
}
"""By what is wrong: the values, and what the message says."""

REFUSED_RELEASES: Final = ("9store", "a.b")
"""Names of releases that helm takes, and that no Service may have."""
