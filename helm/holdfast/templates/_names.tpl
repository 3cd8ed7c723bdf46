{{- define "holdfast.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/*
The release's name, plus the chart's unless it contains that; short enough for "-headless". A
Service's name begins with a letter and has no dot, unlike a release's.
*/}}
{{- define "holdfast.fullname" -}}
{{- $name := include "holdfast.name" . -}}
{{- $full := printf "%s-%s" .Release.Name $name -}}
{{- if .Values.fullnameOverride -}}
{{- $full = .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- $full = .Release.Name -}}
{{- end -}}
{{- $full = $full | trunc 54 | trimSuffix "-" -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $full) -}}
{{- fail (printf "the release %q would have a Service %q, and that can't be a Service's name: it must begin with a letter, and have only small letters, digits and hyphens. Set fullnameOverride, or correct nameOverride" .Release.Name $full) -}}
{{- end -}}
{{- $full -}}
{{- end -}}

{{/* The name of an object of a component, from (list . COMPONENT LENGTH): as long as it may be. */}}
{{- define "holdfast.componentName" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $room := sub (index . 2) (add (len $component) 1) | int -}}
{{- printf "%s-%s" (include "holdfast.fullname" $root | trunc $room | trimSuffix "-") $component -}}
{{- end -}}

{{/* Labels by which a component's pods are selected, from (list . COMPONENT). They never change. */}}
{{- define "holdfast.selectorLabelsOf" -}}
app.kubernetes.io/name: {{ include "holdfast.name" (index . 0) }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of a component's objects, from (list . COMPONENT). */}}
{{- define "holdfast.labelsOf" -}}
{{- $root := index . 0 -}}
{{ include "holdfast.selectorLabelsOf" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "holdfast.selectorLabels" -}}
{{ include "holdfast.selectorLabelsOf" (list . "frontend") }}
{{- end -}}

{{- define "holdfast.labels" -}}
{{ include "holdfast.labelsOf" (list . "frontend") }}
{{- end -}}

{{/* "true" if there are frontends; a release that only sets nodes up has none. */}}
{{- define "holdfast.hasFrontends" -}}
{{- or (ne (int .Values.replicaCount) 0) .Values.autoscaling.enabled -}}
{{- end -}}

{{- define "holdfast.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "holdfast.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The account of a job or of the test, from (list . COMPONENT). */}}
{{- define "holdfast.accountOf" -}}
{{- $account := (get (index . 0).Values (index . 1)).serviceAccount -}}
{{- if $account.create -}}
{{- default (include "holdfast.componentName" (list (index . 0) (index . 1) 63)) $account.name -}}
{{- else -}}
{{- default "default" $account.name -}}
{{- end -}}
{{- end -}}
