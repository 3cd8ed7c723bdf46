{{/*
What sets hosts up. Labels differ from the frontends', so that no Service, policy or budget selects
these pods.
*/}}
{{- define "holdfast.nodesSelector" -}}
app.kubernetes.io/name: {{ include "holdfast.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: nodes
{{- end -}}

{{- define "holdfast.nodesLabels" -}}
{{ include "holdfast.nodesSelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* Short enough for "-canary", and for the hash that a DaemonSet's pods carry as a label. */}}
{{- define "holdfast.nodesName" -}}
{{- include "holdfast.fullname" . | trunc 42 | trimSuffix "-" }}-nodes
{{- end -}}

{{/* The agent's settings, as the file that `holdfast node install` reads. */}}
{{- define "holdfast.nodesSettings" -}}
HOLDFAST_AGENT_FRONTENDS={{ required "nodes.frontends is required: addresses of frontends, as hosts reach them. A host asks no cluster DNS" (join "," .Values.nodes.frontends) }}
{{- range $name, $value := .Values.nodes.settings }}
{{ $name }}={{ $value }}
{{- end }}
{{- end -}}

{{/*
One DaemonSet, from (list . CANARY): CANARY is "true" for the nodes that go first. They are told
apart by labels of the nodes alone, so a node is never in both.
*/}}
{{- define "holdfast.nodesDaemonSet" -}}
{{- $root := index . 0 -}}
{{- $spec := include "holdfast.nodesSpec" . -}}
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: {{ include "holdfast.nodesName" $root }}{{ ternary "-canary" "" (eq (index . 1) "true") }}
  labels:
    {{- include "holdfast.nodesLabels" $root | nindent 4 }}
    # By this others know whether the canaries' DaemonSet is already what it is to be.
    holdfast/spec: {{ include "holdfast.nodesSpecSum" . }}
spec:
  {{- $spec | nindent 2 }}
{{- end -}}

{{- define "holdfast.nodesSpecSum" -}}
{{- include "holdfast.nodesSpec" . | sha256sum | trunc 40 | quote -}}
{{- end -}}

{{/* Whether nodes take turns, which needs the API server. */}}
{{- define "holdfast.nodesTurns" -}}
{{- gt (int .Values.nodes.atOnce) 0 -}}
{{- end -}}

{{/* The leases' names, as a JSON list. */}}
{{- define "holdfast.nodesLeases" -}}
{{- $name := include "holdfast.nodesName" . -}}
{{- $kinds := list -}}
{{- if not .Values.nodes.canary.only -}}
{{- $kinds = append $kinds $name -}}
{{- end -}}
{{- if .Values.nodes.canary.nodeSelector -}}
{{- $kinds = append $kinds (printf "%s-canary" $name) -}}
{{- end -}}
{{- $leases := list -}}
{{- range $kind := $kinds -}}
{{- range $number := until (int $.Values.nodes.atOnce) -}}
{{- $leases = append $leases (printf "%s-%d" $kind $number) -}}
{{- end -}}
{{- end -}}
{{- toJson $leases -}}
{{- end -}}

{{- define "holdfast.nodesSpec" -}}
{{- $root := index . 0 -}}
{{- $canary := eq (index . 1) "true" -}}
{{- $nodes := $root.Values.nodes -}}
{{- $image := $nodes.image -}}
{{- if $canary -}}
{{- $image = mergeOverwrite (deepCopy $nodes.image) (pick $nodes.canary.image "tag" "digest" | include "holdfast.given" | fromJson) -}}
{{- end -}}
{{- $issuers := or $nodes.certificate.issuers.configMap $nodes.certificate.issuers.secret -}}
{{- $turns := eq (include "holdfast.nodesTurns" $root) "true" -}}
selector:
  matchLabels:
    {{- include "holdfast.nodesSelector" $root | nindent 4 }}
    holdfast/canary: {{ $canary | quote }}
# A pod is available once its node is verified, and stays so. A node that fails keeps its pod
# from that, and with as many as maxUnavailable the roll-out stops.
minReadySeconds: 20
updateStrategy:
  type: RollingUpdate
  rollingUpdate:
    maxUnavailable: {{ $nodes.maxUnavailable }}
template:
  metadata:
    labels:
      {{- include "holdfast.nodesLabels" $root | nindent 6 }}
      holdfast/canary: {{ $canary | quote }}
      {{- with $root.Values.podLabels }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    annotations:
      checksum/settings: {{ include "holdfast.nodesSettings" $root | sha256sum }}
      {{- with $root.Values.podAnnotations }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  spec:
    serviceAccountName: {{ include "holdfast.nodesName" $root }}
    automountServiceAccountToken: false
    enableServiceLinks: false
    # systemctl speaks with process 1 only if it can see it.
    hostPID: true
    terminationGracePeriodSeconds: 10
    priorityClassName: {{ $nodes.priorityClassName }}
    {{- include "holdfast.pullSecrets" $root | nindent 4 }}
    securityContext:
      # The host's files and its systemd belong to root.
      runAsUser: 0
      runAsGroup: 0
      seccompProfile:
        type: RuntimeDefault
      {{- with $nodes.seLinuxOptions }}
      seLinuxOptions:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    initContainers:
      - name: {{ ternary "install" "remove" (eq $nodes.state "present") }}
        image: {{ include "holdfast.imageOf" (list $root $image "nodes.image") | quote }}
        imagePullPolicy: {{ $nodes.image.pullPolicy }}
        command:
          - /opt/bundle/holdfast
          - node
          {{- if eq $nodes.state "present" }}
          - install
          - --host=/host
          - --bundle=/opt/bundle
          - --node=$(NODE_NAME)
          - --settings=/settings/node.env
          - --attempt={{ int $nodes.attempt }}
          - --programs={{ $nodes.programs }}
          - --containerd-unit={{ $nodes.containerd.unit }}
          - --containerd-config={{ $nodes.containerd.config }}
          - --containerd-root={{ $nodes.containerd.root }}
          - --containerd-socket={{ $nodes.containerd.socket }}
          {{- with $nodes.containerd.part }}
          - --containerd-part={{ . }}
          {{- end }}
          {{- if $issuers }}
          - --certificate={{ $nodes.certificate.path }}
          - --key={{ default $nodes.certificate.path $nodes.certificate.keyPath }}
          - --issuers=/issuers/ca.crt
          {{- end }}
          {{- else }}
          - remove
          - --host=/host
          {{- if $turns }}
          - --node=$(NODE_NAME)
          {{- end }}
          {{- end }}
          {{- if $turns }}
          - --turns={{ $root.Release.Namespace }}/{{ include "holdfast.nodesName" $root }}
          {{- if $canary }}
          - --canary
          {{- end }}
          {{- end }}
        {{- include "holdfast.nodesContainer" $root | nindent 8 }}
          {{- if $turns }}
          - name: token
            mountPath: /var/run/secrets/kubernetes.io/serviceaccount
            readOnly: true
          {{- end }}
    containers:
      - name: watch
        image: {{ include "holdfast.imageOf" (list $root $image "nodes.image") | quote }}
        imagePullPolicy: {{ $nodes.image.pullPolicy }}
        command:
          - /opt/bundle/holdfast
          - node
          - watch
          - --host=/host
          - --state={{ $nodes.state }}
        {{- include "holdfast.nodesContainer" $root | nindent 8 }}
    volumes:
      - name: host
        hostPath:
          path: /
          type: Directory
      - name: scratch
        emptyDir:
          sizeLimit: 64Mi
      - name: settings
        configMap:
          name: {{ include "holdfast.nodesName" $root }}
          items:
            - {key: node.env, path: node.env}
      {{- if $turns }}
      # Of the API server the pod asks only whose turn it is.
      - name: token
        projected:
          sources:
            - serviceAccountToken:
                path: token
                expirationSeconds: 3600
            - configMap:
                name: kube-root-ca.crt
                items:
                  - {key: ca.crt, path: ca.crt}
      {{- end }}
      {{- if $issuers }}
      - name: issuers
        {{- include "holdfast.source" (dict "from" $nodes.certificate.issuers "items" (dict $nodes.certificate.issuers.key "ca.crt")) | nindent 8 }}
      {{- end }}
    affinity:
      nodeAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms:
            {{- if $canary }}
            - matchExpressions:
                - {key: kubernetes.io/os, operator: In, values: [linux]}
                {{- range $key, $value := merge (deepCopy $nodes.canary.nodeSelector) $nodes.nodeSelector }}
                - {key: {{ $key | quote }}, operator: In, values: [{{ $value | quote }}]}
                {{- end }}
            {{- else if $nodes.canary.nodeSelector }}
            # All that lack one of the canaries' labels: terms are alternatives.
            {{- range $key, $value := $nodes.canary.nodeSelector }}
            - matchExpressions:
                - {key: kubernetes.io/os, operator: In, values: [linux]}
                - {key: {{ $key | quote }}, operator: NotIn, values: [{{ $value | quote }}]}
                {{- range $name, $wanted := $nodes.nodeSelector }}
                - {key: {{ $name | quote }}, operator: In, values: [{{ $wanted | quote }}]}
                {{- end }}
            {{- end }}
            {{- else }}
            - matchExpressions:
                - {key: kubernetes.io/os, operator: In, values: [linux]}
                {{- range $key, $value := $nodes.nodeSelector }}
                - {key: {{ $key | quote }}, operator: In, values: [{{ $value | quote }}]}
                {{- end }}
            {{- end }}
    {{- with $nodes.tolerations }}
    tolerations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end -}}

{{/* What both containers have. */}}
{{- define "holdfast.nodesContainer" -}}
env:
  - name: NODE_NAME
    valueFrom:
      fieldRef:
        fieldPath: spec.nodeName
resources:
  {{- toYaml .Values.nodes.resources | nindent 2 }}
securityContext:
  # Not privileged: it changes files that others own, and starts the host's systemctl in the host's
  # root folder. docs/nodes.md says what that amounts to.
  privileged: false
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
    add: [CHOWN, DAC_OVERRIDE, FOWNER, SYS_CHROOT]
volumeMounts:
  - name: host
    mountPath: /host
    # What is mounted on the host later, such as /run of a unit, is seen too.
    mountPropagation: HostToContainer
  - name: scratch
    mountPath: /tmp
  - name: settings
    mountPath: /settings
    readOnly: true
  {{- if or .Values.nodes.certificate.issuers.configMap .Values.nodes.certificate.issuers.secret }}
  - name: issuers
    mountPath: /issuers
    readOnly: true
  {{- end }}
{{- end -}}

{{/* Of a mapping, what isn't empty. */}}
{{- define "holdfast.given" -}}
{{- $given := dict -}}
{{- range $name, $value := . -}}
{{- if $value -}}
{{- $_ := set $given $name $value -}}
{{- end -}}
{{- end -}}
{{- toJson $given -}}
{{- end -}}
