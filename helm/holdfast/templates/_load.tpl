{{/* "true" if one of the two loads runs. */}}
{{- define "holdfast.hasLoad" -}}
{{- or .Values.load.fleet.enabled .Values.load.ghz.enabled -}}
{{- end -}}

{{/*
How the names of a load's tenants begin. The program refuses what doesn't begin with
"holdfast-load-", so that no node's content is touched.
*/}}
{{- define "holdfast.loadTenants" -}}
holdfast-load-{{ printf "%s-%s" .Release.Namespace (include "holdfast.fullname" .) | trunc 33 | trimAll "-." }}
{{- end -}}

{{/* Addresses, as host:port with commas, from (list . GIVEN PORT): GIVEN or the headless Service. */}}
{{- define "holdfast.loadAddresses" -}}
{{- $root := index . 0 -}}
{{- if index . 1 -}}
{{- join "," (index . 1) -}}
{{- else -}}
{{- printf "%s-headless.%s.svc:%d" (include "holdfast.fullname" $root) $root.Release.Namespace (int (index . 2)) -}}
{{- end -}}
{{- end -}}

{{/* Where loads and frontends meet. */}}
{{- define "holdfast.loadPorts" -}}
- port: {{ .Values.service.targetPort }}
  protocol: TCP
- port: http
  protocol: TCP
{{- end -}}

{{/* Refuses what can't work, with the reason. */}}
{{- define "holdfast.checkLoad" -}}
{{- $load := .Values.load -}}
{{- if or (not .Values.listener.tenantHeader) (eq (include "holdfast.hasIdentities" .) "true") -}}
{{- fail "load makes up tenants, and names them in listener.tenantHeader: frontends that know clients by anything else would take all of them for one. Run it against a release of its own" -}}
{{- end -}}
{{- if and (include "holdfast.tlsSecret" .) (not $load.tls.existingSecret.name) -}}
{{- fail "the listener speaks TLS: load needs load.tls.existingSecret.name, a Secret with the issuers of its certificate" -}}
{{- end -}}
{{- if ne (empty $load.frontends) (empty $load.metrics) -}}
{{- fail "set both load.frontends and load.metrics, or neither" -}}
{{- end -}}
{{- if and (empty $load.frontends) (not .Values.service.headless) -}}
{{- fail "load finds the pods by the headless Service: set service.headless, or name them in load.frontends and load.metrics" -}}
{{- end -}}
{{- end -}}

{{/* A load's Job, from (dict "root" . "name" NAME "arguments" LIST). NAME is its section, too. */}}
{{- define "holdfast.loadJob" -}}
{{- $root := .root -}}
{{- include "holdfast.checkLoad" $root -}}
{{- $values := $root.Values -}}
{{- $load := $values.load -}}
{{- $options := get $load .name -}}
{{- $which := list $root "load" -}}
{{- $secret := $load.tls.existingSecret -}}
{{- include "holdfast.checkResources" (list (printf "load.%s.resources" .name) $options.resources) -}}
apiVersion: batch/v1
kind: Job
metadata:
  # A Job can't be changed: each upgrade of the release runs another one in its place.
  name: {{ include "holdfast.componentName" (append $which 46) }}-{{ .name }}-{{ $root.Release.Revision }}
  labels:
    {{- include "holdfast.labelsOf" $which | nindent 4 }}
spec:
  # A second try would measure something else.
  backoffLimit: 0
  activeDeadlineSeconds: {{ int $options.deadline }}
  ttlSecondsAfterFinished: 604800
  template:
    metadata:
      {{- include "holdfast.podMetadata" (append $which (dict)) | nindent 6 }}
    spec:
      restartPolicy: Never
      # It gives up what its tenants hold, which takes up to two minutes.
      terminationGracePeriodSeconds: 150
      {{- include "holdfast.podBase" (dict "root" $root "account" (include "holdfast.accountOf" $which) "token" false) | nindent 6 }}
      containers:
        - name: load
          image: {{ include "holdfast.imageOf" (list $root $load.image "load.image") | quote }}
          imagePullPolicy: {{ $values.image.pullPolicy }}
          command: [python3, -m, bench.inside, {{ .name }}]
          args:
            {{- toYaml .arguments | nindent 12 }}
          env:
            # The user has no home, and the root file system is read-only.
            - name: HOME
              value: /tmp
            {{- if $secret.name }}
            - name: HOLDFAST_AGENT_TLS_CA
              value: /tls/{{ $secret.caKey }}
            {{- if $secret.certKey }}
            - name: HOLDFAST_AGENT_TLS_CERT
              value: /tls/{{ $secret.certKey }}
            - name: HOLDFAST_AGENT_TLS_KEY
              value: /tls/{{ $secret.keyKey }}
            {{- end }}
            # Pods are reached by their addresses, which their certificate doesn't name.
            - name: HOLDFAST_AGENT_TLS_SERVER_NAME
              value: {{ default (printf "%s.%s.svc" (include "holdfast.fullname" $root) $root.Release.Namespace) $load.tls.serverName }}
            {{- end }}
          terminationMessagePolicy: FallbackToLogsOnError
          resources:
            {{- toYaml $options.resources | nindent 12 }}
          securityContext:
            {{- include "holdfast.containerSecurity" $root | nindent 12 }}
          volumeMounts:
            - name: scratch
              mountPath: /tmp
            {{- if $secret.name }}
            - name: tls
              mountPath: /tls
              readOnly: true
            {{- end }}
      volumes:
        # The nodes' sockets, and a profile of ghz.
        - name: scratch
          emptyDir:
            sizeLimit: 64Mi
        {{- with $secret.name }}
        - name: tls
          {{- include "holdfast.source" (dict "from" (dict "secret" .)) | nindent 10 }}
        {{- end }}
      {{- include "holdfast.placement" (list $root $load) | nindent 6 }}
{{- end -}}
