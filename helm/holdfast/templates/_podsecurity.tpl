{{/*
Refuses what the namespace's level of Pod Security doesn't allow: with it, an upgrade would be
accepted and hang without a pod.
Source: "Pod Security Standards" of Kubernetes.
*/}}
{{- define "holdfast.checkPodSecurity" -}}
{{- $level := .Values.podSecurity -}}
{{- if ne $level "privileged" -}}
{{- if .Values.nodes.enabled -}}
{{- fail (printf "nodes.enabled: its pods see the host's processes and files, which a namespace at the level %s of Pod Security doesn't allow: they would never be made. Give them a release of their own (replicaCount=0, gc.enabled=false, scrub.enabled=false, test.enabled=false) in a namespace of its own, with the label pod-security.kubernetes.io/enforce=privileged, and set podSecurity=privileged there" $level) -}}
{{- end -}}
{{- $sources := list (list "diskCache.volume" .Values.diskCache.volume) -}}
{{- range .Values.extraVolumes -}}
{{- $sources = append $sources (list (printf "extraVolumes: %s" .name) (omit . "name")) -}}
{{- end -}}
{{- range $sources -}}
{{- $path := first . -}}
{{- range $kind, $_ := last . -}}
{{- if or (eq $kind "hostPath") (and (eq $level "restricted") (has $kind (list "nfs" "iscsi" "fc"))) -}}
{{- fail (printf "%s is a %s, which a namespace at the level %s of Pod Security doesn't allow: an upgrade would hang without a pod. If the namespace allows it, set podSecurity=privileged, or baseline for network volumes" $path $kind $level) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $field := list "initContainers" "extraContainers" -}}
{{- range get $.Values $field -}}
{{- include "holdfast.checkContainer" (list $level (printf "%s: %s" $field .name) .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* From (list LEVEL PATH CONTAINER). */}}
{{- define "holdfast.checkContainer" -}}
{{- $level := index . 0 -}}
{{- $path := index . 1 -}}
{{- $container := index . 2 -}}
{{- $security := $container.securityContext | default dict -}}
{{- $problem := "" -}}
{{- range $container.ports -}}
{{- if .hostPort -}}
{{- $problem = "has a hostPort" -}}
{{- end -}}
{{- end -}}
{{- if $security.privileged -}}
{{- $problem = "is privileged" -}}
{{- end -}}
{{- if eq $level "restricted" -}}
{{- $capabilities := $security.capabilities | default dict -}}
{{- if $security.allowPrivilegeEscalation -}}
{{- $problem = "has allowPrivilegeEscalation" -}}
{{- else if eq (toString $security.runAsNonRoot) "false" -}}
{{- $problem = "has runAsNonRoot=false" -}}
{{- else if and (hasKey $security "runAsUser") (eq (int $security.runAsUser) 0) -}}
{{- $problem = "runs as user 0" -}}
{{- else if without ($capabilities.add | default list) "NET_BIND_SERVICE" -}}
{{- $problem = printf "has the capabilities %s" (join ", " $capabilities.add) -}}
{{- else if and (hasKey $capabilities "drop") (not (has "ALL" $capabilities.drop)) -}}
{{- $problem = "doesn't drop ALL capabilities" -}}
{{- else if and $security.seccompProfile (not (has $security.seccompProfile.type (list "RuntimeDefault" "Localhost"))) -}}
{{- $problem = printf "has the seccompProfile %s" $security.seccompProfile.type -}}
{{- end -}}
{{- end -}}
{{- if $problem -}}
{{- fail (printf "%s %s, which a namespace at the level %s of Pod Security doesn't allow: an upgrade would hang without a pod. If the namespace allows it, set podSecurity to its level" $path $problem $level) -}}
{{- end -}}
{{- end -}}

{{/* Volumes and mounts that the values bring along are none of the chart's, and each is there once. */}}
{{- define "holdfast.checkVolumes" -}}
{{- $names := list "scratch" "spool" "blocks" "quotas" "redis" "s3" "authorities" "identities" "tls" "http-tls" "token" -}}
{{- range .Values.tokenKeys -}}
{{- $name := printf "token-keys-%s" .name -}}
{{- if has $name $names -}}
{{- fail (printf "tokenKeys has %s twice" .name) -}}
{{- end -}}
{{- $names = append $names $name -}}
{{- end -}}
{{- $own := list -}}
{{- range .Values.extraVolumes -}}
{{- if has .name $names -}}
{{- fail (printf "extraVolumes: %s is the name of another volume" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- $own = append $own .name -}}
{{- end -}}
{{- $paths := list -}}
{{- range .Values.extraVolumeMounts -}}
{{- if not (has .name $own) -}}
{{- fail (printf "extraVolumeMounts: there is no volume %s in extraVolumes" .name) -}}
{{- end -}}
{{- $path := trimSuffix "/" .mountPath -}}
{{- if or (has $path (list "" "/tmp" "/spool" "/cache" "/quotas" "/redis" "/s3" "/authorities" "/etc/holdfast" "/tls" "/http-tls")) (hasPrefix "/token-keys/" $path) -}}
{{- fail (printf "extraVolumeMounts: %s is a path of the chart's own" .mountPath) -}}
{{- end -}}
{{- if has $path $paths -}}
{{- fail (printf "extraVolumeMounts: %s is there twice" .mountPath) -}}
{{- end -}}
{{- $paths = append $paths $path -}}
{{- end -}}
{{- $containers := list "frontend" -}}
{{- range concat .Values.initContainers .Values.extraContainers -}}
{{- if has .name $containers -}}
{{- fail (printf "extraContainers, initContainers: there is another container called %s" .name) -}}
{{- end -}}
{{- $containers = append $containers .name -}}
{{- end -}}
{{- end -}}
