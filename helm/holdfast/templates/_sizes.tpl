{{/* The number of bytes in a size such as 100GiB. */}}
{{- define "holdfast.bytes" -}}
{{- $letters := dict "" 0 "K" 1 "M" 2 "G" 3 "T" 4 -}}
{{- $base := ternary 1024 1000 (contains "iB" .) -}}
{{- $bytes := int64 (regexFind "^[0-9]+" .) -}}
{{- range until (int (get $letters (regexFind "[KMGT]" .))) -}}
{{- $bytes = mul $bytes $base -}}
{{- end -}}
{{- $bytes -}}
{{- end -}}

{{/*
Bytes that a frontend needs (docs/operations.md, "Memory"): 250 MiB, its budgets, and 64 KiB for
each Read that it admits beyond 512.
*/}}
{{- define "holdfast.memory" -}}
{{- $bytes := mul 250 1048576 -}}
{{- range list "bufferBudget" "cacheBudget" "listBudget" -}}
{{- $bytes = add $bytes (int64 (include "holdfast.bytes" (toString (get $.Values.settings .)))) -}}
{{- end -}}
{{- add $bytes (mul 65536 (max 0 (sub (int64 .Values.settings.maxReads) 512))) -}}
{{- end -}}

{{/*
Resources of the frontend. Memory that isn't set is computed from the settings: what is needed,
rounded up to 64 MiB, and a limit of 1.6 times as much, for large messages.
*/}}
{{- define "holdfast.resources" -}}
{{- $resources := deepCopy .Values.resources -}}
{{- $steps := div (add (int64 (include "holdfast.memory" .)) 67108863) 67108864 -}}
{{- $requests := get $resources "requests" | default dict -}}
{{- if not $requests.memory -}}
{{- $_ := set $requests "memory" (printf "%dMi" (mul 64 $steps)) -}}
{{- end -}}
{{- $limits := get $resources "limits" | default dict -}}
{{- if not $limits.memory -}}
{{- $_ := set $limits "memory" (printf "%dMi" (div (mul 512 $steps) 5)) -}}
{{- end -}}
{{- toYaml (merge (dict "requests" $requests "limits" $limits) $resources) -}}
{{- end -}}
