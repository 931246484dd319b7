variable "name" {
  description = "Name of everything. Another one than the default also has to be put into k8s/overlays/eks."
  type        = string
  default     = "vestibule"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.name))
    error_message = "At most 20 of a-z, 0-9 and -, beginning with a letter."
  }
}

variable "region" {
  description = "Region of AWS."
  type        = string
  default     = "eu-central-1"
}

variable "kubernetes_version" {
  description = "Minor version of EKS; the manifests are checked for 1.34."
  type        = string
  default     = "1.34"
}

variable "api_access_cidrs" {
  description = "Networks from which the API of Kubernetes is reached: your office, your VPN."
  type        = list(string)

  validation {
    condition     = !contains(var.api_access_cidrs, "0.0.0.0/0")
    error_message = "Not the whole world."
  }
}

variable "vpc_cidr" {
  description = "Addresses of the VPC."
  type        = string
  default     = "10.40.0.0/16"
}

variable "private_subnets" {
  description = "Nodes and pods, one for each zone: what the edges trust when an Ingress stands before them."
  type        = list(string)
  default     = ["10.40.0.0/19", "10.40.32.0/19", "10.40.64.0/19"]
}

variable "public_subnets" {
  description = "Balancers, one for each zone."
  type        = list(string)
  default     = ["10.40.96.0/20", "10.40.112.0/20", "10.40.128.0/20"]
}

variable "database_subnets" {
  description = "ElastiCache and RDS, and nothing else, one for each zone: the network policies let pods through to them."
  type        = list(string)
  default     = ["10.40.144.0/24", "10.40.145.0/24", "10.40.146.0/24"]
}

variable "system_instance_types" {
  description = "Machines of the controllers; those of edge and backend come from Karpenter."
  type        = list(string)
  default     = ["m7g.large"]
}

variable "cache_node_type" {
  description = "Node of ElastiCache. A million waiters take 250 MB; the script thread is one core whatever the size."
  type        = string
  default     = "cache.m7g.large"
}

variable "cache_shards" {
  description = "Shards of ElastiCache. A room lives on one of them: more than there are rooms help nobody."
  type        = number
  default     = 1
}

variable "cache_replicas" {
  description = "Replicas of each shard."
  type        = number
  default     = 2
}

variable "database_instance_class" {
  description = "Machine of RDS. A sale is bound by commits to one row, not by cores."
  type        = string
  default     = "db.m7g.xlarge"
}

variable "database_storage_gb" {
  description = "Storage of RDS, in GiB; it may grow to four times that."
  type        = number
  default     = 100
}

variable "passwords_version" {
  description = "One more makes new passwords for ElastiCache and RDS: see docs/OPERATIONS.md first."
  type        = number
  default     = 1
}

variable "log_days" {
  description = "How long logs are kept in S3."
  type        = number
  default     = 30
}
